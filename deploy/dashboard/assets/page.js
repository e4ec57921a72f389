// The form that flags: filled by what is marked in the figure, sent as one request that proves where it comes from.
"use strict";

const form = document.getElementById("flagging");

function figure() {
  for (const one of (window.Bokeh && Bokeh.documents) || []) {
    const found = one.get_model_by_name("series");
    if (found) return found;
  }
  return null;
}

function brush() {
  return figure().toolbar.tools.find((tool) => tool.type === "BoxSelectTool");
}

function fill(marked) {
  for (const name of ["station", "inlet", "instrument", "start", "end"]) form.elements[name].value = marked[name] || "";
  const all = document.createElement("option");
  const one = document.createElement("option");
  all.value = "";
  all.textContent = "all gases";
  one.value = one.textContent = marked.gas;
  form.elements.gas.replaceChildren(one, all);
  const where = [marked.station, marked.inlet, marked.instrument].filter(Boolean).join(", ");
  const how = marked.start ? "Marked" : "Drag over the figure to mark a range of time, or type it";
  document.getElementById("hint").textContent = `${how}: ${where}.`;
  if (!marked.start) brush()?.overlay.clear();
}

function listen() {
  const found = figure();
  if (!found) {
    setTimeout(listen, 100);
    return;
  }
  const take = () => found.tags.length && fill(found.tags[0] instanceof Map ? Object.fromEntries(found.tags[0]) : found.tags[0]);
  found.properties.tags.change.connect(take);
  take();
}

async function send(event) {
  event.preventDefault();
  const answer = document.getElementById("answer");
  const said = Object.fromEntries(new FormData(form));
  let text = "";
  let right = false;
  if (!said.station) {
    text = "There is no series yet, so there is nothing to flag.";
  } else {
    try {
      const got = await fetch("/flag", {
        method: "POST",
        headers: { "Content-Type": "application/json", "X-Skyledger-Proof": form.dataset.proof },
        body: JSON.stringify(said),
      });
      const content = await got.json();
      right = got.ok;
      text = right ? `Row ${content.row} of the ledger: ${said.flag}, ${said.start} to ${said.end}.` : content.error;
    } catch (error) {
      text = "The server does not answer; nothing was written.";
    }
  }
  answer.textContent = text;
  answer.className = right ? "" : "wrong";
  if (right) {
    form.elements.reason.value = "";
    brush()?.overlay.clear();
  }
}

if (form) {
  form.addEventListener("submit", send);
  listen();
}
