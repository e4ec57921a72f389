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

function fill(marked) {
  for (const name of ["station", "inlet", "instrument", "start", "end"]) form.elements[name].value = marked[name] || "";
  const all = document.createElement("option");
  const one = document.createElement("option");
  all.value = "";
  all.textContent = "all gases";
  one.value = one.textContent = marked.gas;
  form.elements.gas.replaceChildren(one, all);
  const where = [marked.station, marked.inlet, marked.instrument].filter(Boolean).join(", ");
  document.getElementById("hint").textContent = `Marked: ${where}.`;
}

function listen() {
  const found = figure();
  if (!found) {
    setTimeout(listen, 100);
    return;
  }
  const take = () => found.tags.length && fill(found.tags[0] instanceof Map ? Object.fromEntries(found.tags[0]) : found.tags[0]);
  found.properties.tags.change.connect(take);
}

async function send(event) {
  event.preventDefault();
  const answer = document.getElementById("answer");
  const said = Object.fromEntries(new FormData(form));
  let text = "";
  let right = false;
  if (!said.station) {
    text = "Mark a range in the figure first: it says which series is meant.";
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
  if (right) form.elements.reason.value = "";
}

if (form) {
  form.addEventListener("submit", send);
  listen();
}
