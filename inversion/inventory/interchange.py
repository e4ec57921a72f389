"""The interchange format of primap2: a CSV in wide form and a YAML that says what its columns are.

Format: primap2 documentation, "Interchange format"; read and written here without primap2, which needs a newer Python.
primap2 reads numbers only. What it cannot hold lies beside them in ``NAME_notation.csv``, which it does not look at:
the notation keys. σ and the ends of intervals are a dimension ``statistic (skyledger)``; fuels, scopes and published
categories are dimensions of their own; each only where there is any.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from inversion.errors import InversionError
from inversion.inventory import mass
from inversion.inventory.areas import area
from inversion.inventory.categories import from_crt
from inversion.inventory.delimited import grouped, notation
from inversion.inventory.entry import UNIT, Entry, Inventory, InventoryError, Period, category

STATISTIC: Final = "statistic (skyledger)"
NOTATION: Final = "_notation.csv"
"""What is added to the name for the file of notation keys."""

_FORMATS: Final = {"%Y": r"\d{4}", "%Y-%m": r"\d{4}-\d{2}", "%Y-%m-%d": r"\d{4}-\d{2}-\d{2}"}
_DETAILS: Final[dict[str, Callable[[Entry], str]]] = {
    "scope (GHG Protocol)": lambda e: str(e.scope),
    "fuel (skyledger)": lambda e: e.fuel or "all",
    "published category (skyledger)": lambda e: e.published or "all",
    "part (skyledger)": lambda e: "yes" if e.part else "no",
}
_PLAIN: Final = ("1", "all", "all", "no")
_NAMED: Final = re.compile(r"(.+) \((.+)\)")


def write_interchange(inventory: Inventory, path: str | Path, *, title: str = "") -> Path:
    """Write an inventory as ``NAME.csv`` and ``NAME.yaml``, and ``NAME_notation.csv`` where there are notation keys.

    Values become annual rates, ``kt GAS / yr``. Vintages become the dimension ``scenario (vintage)``.

    Parameters
    ----------
    inventory : Inventory
    path : path
        Its name without what follows the dot is ``NAME``.
    title : str
        Of the data set; the inventory's name by default.

    Returns
    -------
    Path
        The YAML file, which primap2 is given.

    Raises
    ------
    InventoryError
        For periods that are not all years, or all months: columns of the format are points in time.
    """
    stem = Path(path).with_suffix("")
    entries = inventory.entries
    if not entries:
        raise InventoryError(inventory.name, ["It holds no entries, and primap2 reads no empty data set."])
    form = _time_format(inventory)
    dimensions = _dimensions(entries)
    table: dict[tuple[str, ...], dict[str, float]] = {}
    for entry in entries:
        for statistic, value in _statistics(entry):
            row = table.setdefault((*(say(entry) for say in dimensions.values()), statistic), {})
            row[entry.period.start.strftime(form)] = value / entry.period.years
    statistics = {key[-1] for key in table}
    names = [*dimensions, *([STATISTIC] if statistics != {"value"} else [])]
    times = sorted({entry.period.start.strftime(form) for entry in entries})
    with stem.with_suffix(".csv").open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([*names, *times])
        for key in sorted(table):
            numbers = [repr(float(table[key][t])) if math.isfinite(table[key].get(t, math.nan)) else "" for t in times]
            rows.writerow([*key[: len(names)], *numbers])
    _write_notation(inventory, stem)
    meta = _description(names, form, title or inventory.name)
    file = stem.with_suffix(".yaml")
    file.write_text("".join(_yaml({"data_file": stem.with_suffix(".csv").name} | meta)), encoding="utf-8")
    return file


def _time_format(inventory: Inventory) -> str:
    lengths = [str(entry.period) for entry in inventory.entries]
    for form in ("%Y", "%Y-%m"):
        if all(re.fullmatch(_FORMATS[form], text) for text in lengths):
            return form
    odd = sorted({text for text in lengths if not re.fullmatch(_FORMATS["%Y"], text)})
    sentence = (
        f"Periods such as {', '.join(odd[:4])} have no column in primap2's format, where all are years or all are "
        "months: select() those."
    )
    raise InventoryError(inventory.name, [sentence])


def _dimensions(entries: tuple[Entry, ...]) -> dict[str, Callable[[Entry], str]]:
    """Return the columns that name a row, with what an entry says in each."""
    countries = all(re.fullmatch("[A-Z]{3}", e.region) for e in entries)
    tree = "IPCC2006_PRIMAP" if any(e.category.startswith("M.") for e in entries) else "IPCC2006"
    found: dict[str, Callable[[Entry], str]] = {
        "source": lambda e: e.source or "unnamed",
        "scenario (vintage)": lambda e: e.vintage or "unnamed",
        f"area ({'ISO3' if countries else 'ISO3166'})": lambda e: e.region,
        "entity": lambda e: e.gas.upper(),
        "unit": lambda e: f"{UNIT} {e.gas.upper()} / yr",
        f"category ({tree})": lambda e: e.category,
    }
    details = {
        name: say
        for (name, say), plain in zip(_DETAILS.items(), _PLAIN, strict=True)
        if any(say(e) != plain for e in entries)
    }
    return found | details


def _statistics(entry: Entry) -> Iterator[tuple[str, float]]:
    yield "value", math.nan if entry.value is None else entry.value
    if entry.sigma is not None:
        yield "sigma", entry.sigma
    if entry.interval is not None:
        yield from zip(("low", "high"), entry.interval, strict=True)


def _description(names: list[str], form: str, title: str) -> dict[str, Any]:
    terms = {short: next(n for n in names if n.startswith(long)) for short, long in _ATTRS.items()}
    return {
        "attrs": terms | {"title": title},
        "dimensions": {"*": sorted(["time", *names])},
        "time_format": form,
    }


_ATTRS: Final = {"area": "area (", "cat": "category (", "scen": "scenario ("}


def _yaml(table: dict[str, Any], indent: str = "") -> Iterator[str]:
    """Write nested tables and lists of text; a JSON string is a YAML string."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield f"{indent}{json.dumps(key)}:\n"
            yield from _yaml(value, f"{indent}  ")
        elif isinstance(value, list):
            yield f"{indent}{json.dumps(key)}:\n"
            yield from (f"{indent}  - {json.dumps(item, ensure_ascii=False)}\n" for item in value)
        else:
            yield f"{indent}{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}\n"


_KEYS: Final = ("region", "gas", "category", "period", "vintage", "source", "published", "fuel", "scope", "part")


def _write_notation(inventory: Inventory, stem: Path) -> None:
    keyed = [entry for entry in inventory.entries if entry.notation]
    file = stem.with_name(f"{stem.name}{NOTATION}")
    if not keyed:
        file.unlink(missing_ok=True)  # of an earlier writing under this name
        return
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([*_KEYS, "notation"])
        rows.writerows([*(str(getattr(e, name)) for name in _KEYS), e.notation] for e in keyed)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Names of the columns, by what they are."""

    file: str
    area: str
    category: str
    scenario: str
    entity: str
    periods: dict[str, Period]


def read_interchange(path: str | Path) -> Inventory:
    """Read a data set in primap2's interchange format.

    Parameters
    ----------
    path : path
        The YAML file, or the CSV beside it.

    Returns
    -------
    Inventory
        Empty cells are no entries, unless ``NAME_notation.csv`` has a notation key for them. Categories of CRF or CRT
        are mapped to IPCC 2006. Baskets of gases are left out, which ``notes`` says.

    Raises
    ------
    InventoryError
        With every fault found, with its line.
    """
    given = Path(path)
    file = given if given.suffix in (".yaml", ".yml") else given.with_suffix(".yaml")
    if not file.exists():
        raise InventoryError(given.name, [f"There is no {file.name!r} that describes it: keep both files together."])
    meta = _meta(file)
    data = file.with_name(Path(str(meta.get("data_file") or file.with_suffix(".csv").name)).name)
    if not data.exists():
        raise InventoryError(file.name, [f"Its data file {data.name!r} is not beside it: keep both files together."])
    entries, left_out = _rows(data, meta)
    entries = _with_notation(entries, data.with_name(f"{data.stem}{NOTATION}"))
    notes = tuple(f"{count} rows of {what}" for what, count in sorted(left_out.items()))
    title = str(meta["attrs"].get("title") or file.name)
    return Inventory(tuple(e for e in entries.values() if e.value is not None or e.notation), title, notes)


def _rows(data: Path, meta: dict[str, Any]) -> tuple[dict[Any, Entry], Counter[str]]:
    entries: dict[Any, Entry] = {}
    left_out: Counter[str] = Counter()
    faults: list[tuple[int, str]] = []
    try:
        rows = csv.reader(io.StringIO(data.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        head = next(rows, [])
        columns = _columns(data.name, meta, head)
        for row in rows:
            if len(row) != len(head):
                faults.append((rows.line_num, f"the line has {len(row)} cells, the header {len(head)}."))
                continue
            wrong = _read_row(columns, dict(zip(head, row, strict=True)), rows.line_num, entries, left_out)
            faults += [(rows.line_num, fault) for fault in wrong]
    except (csv.Error, UnicodeDecodeError) as error:
        raise InventoryError(data.name, [f"It is no CSV in UTF-8 ({error})."]) from error
    if faults:
        raise InventoryError(data.name, grouped(faults, data.name))
    return entries, left_out


def _meta(file: Path) -> dict[str, Any]:
    try:
        meta = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InventoryError(file.name, [f"It is no YAML ({' '.join(str(error).split())})."]) from error
    known = meta if isinstance(meta, dict) else {}
    faults = [
        f"The key {key!r} is missing, or holds no {what}: the format has attrs, dimensions and time_format."
        for key, kind, what in (("attrs", dict, "table"), ("dimensions", dict, "table"), ("time_format", str, "text"))
        if not isinstance(known.get(key), kind)
    ]
    if not faults:
        names = {"area": "regions", "cat": "categories"}
        faults += [
            f"attrs has no {k!r}, which names the column of {v}." for k, v in names.items() if k not in known["attrs"]
        ]
        odd = [str(key) for key, listed in known["dimensions"].items() if not isinstance(listed, list)]
        faults += [f"dimensions has no list of columns for {key!r}." for key in odd]
    if faults:
        raise InventoryError(file.name, faults)
    return known


def _columns(name: str, meta: dict[str, Any], head: list[str]) -> _Columns:
    attrs = {key: str(value) for key, value in meta["attrs"].items()}
    entity = f"entity ({attrs['entity_terminology']})" if "entity_terminology" in attrs else "entity"
    dims = {str(d) for listed in meta["dimensions"].values() for d in listed} - {"time"}
    dims |= {str(column) for column in meta.get("additional_coordinates") or ()}
    dims |= {attrs["area"], attrs["cat"], entity, "unit", "source"}
    times = tuple(column for column in head if column not in dims)
    form = _FORMATS.get(meta["time_format"])
    faults = [f"{name}:1: there is no column {d!r}, which the description has." for d in sorted(dims) if d not in head]
    if form is None:
        faults.append(f"time_format {meta['time_format']!r} is not known: {', '.join(_FORMATS)} are.")
    else:
        faults += [f"{name}:1: {fault}" for time in times for fault in _no_time(time, form)]
    if faults:
        raise InventoryError(name, faults)
    periods = {time: Period.parse(time) for time in times}
    return _Columns(name, attrs["area"], attrs["cat"], attrs.get("scen", ""), entity, periods)


def _no_time(column: str, form: str) -> Iterator[str]:
    if not re.fullmatch(form, column):
        yield f"the column {column!r} is neither a dimension nor a time."
        return
    try:
        Period.parse(column)
    except InversionError as error:
        yield str(error)


def _read_row(
    columns: _Columns, row: dict[str, str], line: int, entries: dict[Any, Entry], left_out: Counter[str]
) -> list[str]:
    """Add what the row says to the entries, or return what is wrong with it."""
    entity = row[columns.entity]
    if "(" in entity or entity.upper() in _BASKETS:
        left_out[f"{entity}, a basket of gases, left out"] += 1
        return []
    gas = entity.casefold().replace("-", "")
    try:
        like = _like(columns, row, gas)
        unit = mass.parse(_unit(row["unit"], entity), gas)
    except InversionError as error:
        return [str(error)]
    statistic = row.get(STATISTIC, "value")
    faults = []
    for column, period in columns.periods.items():
        before = entries.get((like, period)) or replace(like, period=period, place=f"{columns.file}:{line}")
        text = row[column].strip()
        number = _number(text)
        if text and number is None:
            faults.append(f"{column}: {text!r} is no number: primap2's format has numbers or empty cells.")
        elif number is not None and _has(before, statistic):
            faults.append(f"{column}: the value is already there ({before.place}): choose one source or provenance.")
        elif number is not None:
            entries[like, period] = _with(before, statistic, unit.kilotonnes(number, period))
        else:
            entries[like, period] = before
    return faults


_BASKETS: Final = ("HFCS", "PFCS", "KYOTOGHG", "FGASES")


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _unit(text: str, entity: str) -> str:
    """Return a unit as `mass` reads it: primap2 writes ``Gg CO2 / yr``, and ``CO2 * kt / yr`` of what it computed."""
    factors, _, per = text.partition("/")
    named = [factor for factor in re.split(r"[\s*]+", factors.strip()) if factor != entity]
    return " ".join(named) + (f" / {per.strip()}" if per.strip() else "")


def _like(columns: _Columns, row: dict[str, str], gas: str) -> Entry:
    """Return the row's entry without period and numbers."""
    code, part = _category(row[columns.category], columns.category)
    found = {name: row.get(name, "") for name in _DETAILS}
    scope, fuel, published, parts = found.values()
    return Entry(
        region=area(row[columns.area]),
        gas=gas,
        period=_NO_PERIOD,
        category=code,
        source=_named(row["source"]),
        vintage=_named(row.get(columns.scenario, "")),
        published=_named(published) or ("" if code == row[columns.category] else row[columns.category]),
        fuel=_named(fuel),
        scope=int(scope) if scope in ("1", "2") else 1,
        part=part or parts == "yes",
        unit=row["unit"],
    )


_NO_PERIOD: Final = Period.parse("1000")


def _named(text: str) -> str:
    return "" if text in ("unnamed", "all") else text


def _category(text: str, column: str) -> tuple[str, bool]:
    """Map a category to IPCC 2006 by the terminology in the column's name."""
    named = _NAMED.fullmatch(column)
    if named and named[2].startswith(("CRF2013", "CRT")):
        counterpart = from_crt(text)
        return counterpart.code, counterpart.part
    return category(text), False


def _with(entry: Entry, statistic: str, value: float) -> Entry:
    low, high = entry.interval or (math.nan, math.nan)
    match statistic:
        case "sigma":
            return replace(entry, sigma=value)
        case "low":
            return replace(entry, interval=(value, high))
        case "high":
            return replace(entry, interval=(low, value))
        case _:
            return replace(entry, value=value)


def _has(entry: Entry, statistic: str) -> bool:
    low, high = entry.interval or (math.nan, math.nan)
    held = {"sigma": entry.sigma, "low": low, "high": high}.get(statistic, entry.value)
    return held is not None and not math.isnan(held)


def _with_notation(entries: dict[Any, Entry], file: Path) -> dict[Any, Entry]:
    if not file.exists():
        return entries
    with file.open(encoding="utf-8", newline="") as stream:
        keys = {tuple(row[name] for name in _KEYS): notation(row["notation"]) for row in csv.DictReader(stream)}
    return {
        key: replace(e, notation=keys.get(tuple(str(getattr(e, name)) for name in _KEYS), ""))
        for key, e in entries.items()
    }
