"""What a dataset must look like, written down as data, and the one check of it.

A `Schema` names dimensions, variables (`Variable`: dimensions, dtype kind, units, CF standard name,
required or not) and attributes. `require` checks a dataset against it and reports all faults at once;
`describe` prints it as a table. Two schemas live here:

`READINGS`
    What one instrument sent: dimension ``time`` (unique, increasing), one variable per quantity in
    the units of `qc.units` (NaN where that row brought none), ``port``, ``status``, ``mark``.
`OBS`
    One series (station, inlet): dimension ``time``. For each gas its value and companions; what was
    invalid is kept, with its flag. ``time`` is the middle of the interval the value stands for, and
    ``time_bnds`` always says that interval: start included, end excluded (CF-1.11 section 7.1).

A name with a ``{species}`` in it stands for one variable a gas; the gases of a dataset are those
with a ``{species}_flag``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from qc.errors import QcError
from qc.flags import Flag
from qc.units import QUANTITIES, TO_MOLE_FRACTION

_KINDS: Final = {
    "f": "float",
    "i": "integer",
    "u": "unsigned integer",
    "b": "boolean",
    "M": "datetime64",
    "m": "timedelta64",
    "O": "object",
    "U": "text",
    "S": "bytes",
    "T": "text",
    "c": "complex",
}
_TEXT: Final = "OUT"
_NUMBER: Final = "fiu"


class SchemaError(QcError):
    """A dataset does not meet its schema; ``faults`` lists every fault, one sentence each."""

    def __init__(self, schema: str, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(f"dataset is not {schema}, {count}:\n" + "\n".join(f"- {fault}" for fault in self.faults))


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of a schema.

    Parameters
    ----------
    name
        Its name; may hold ``{species}``.
    dims
        Its dimensions, in order.
    kind
        The numpy dtype kinds that will do ("f" float, "iu" integer, "M" datetime64 ...).
    units
        The units that will do, none checked where empty. ``{species}``: the units of that gas's own variable.
    standard_name
        CF standard name; checked where the dataset states one.
    required
        Whether the dataset must have it.
    attributes
        Attributes that must be there and hold something.
    values
        The only values allowed (flags), where not empty.
    increasing
        Whether values must increase strictly.
    long_name
        What it is.
    """

    name: str
    dims: tuple[str, ...]
    kind: str = "f"
    units: tuple[str, ...] = ()
    standard_name: str | None = None
    required: bool = True
    attributes: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    increasing: bool = False
    long_name: str = ""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a dataset must look like.

    Parameters
    ----------
    name
        Its name, as errors say it.
    variables
        Its variables and coordinates.
    attributes
        Attributes of the dataset that must be there -> kind of value, "text" or "number".
    each
        The variable whose presence says which ``{species}`` a dataset has.
    closed
        Whether variables the schema does not name are faults.
    """

    name: str
    variables: tuple[Variable, ...]
    attributes: Mapping[str, str] = field(default_factory=dict)
    each: str | None = None
    closed: bool = False

    def species(self, ds: xr.Dataset) -> list[str]:
        """Return the gases `ds` has by this schema, in the dataset's order."""
        if self.each is None:
            return []
        form = re.compile(re.escape(self.each).replace(re.escape("{species}"), "(.+)"))
        found = (form.fullmatch(str(name)) for name in ds.variables)
        return [match[1] for match in found if match]

    def expand(self, ds: xr.Dataset) -> Iterator[Variable]:
        """Yield the schema's variables for `ds`, those with ``{species}`` once for each of its gases."""
        species = self.species(ds)
        for variable in self.variables:
            if "{species}" not in variable.name:
                yield variable
                continue
            for gas in species:
                yield _for_gas(variable, gas, ds)


def _for_gas(variable: Variable, gas: str, ds: xr.Dataset) -> Variable:
    units = variable.units
    if units == ("{species}",):
        own = str(ds[gas].attrs.get("units", "")) if gas in ds.variables else ""
        units = (own,) if own else ()
    elif variable.name == "{species}" and gas in QUANTITIES:
        units = (QUANTITIES[gas].unit,)
    return replace(variable, name=variable.name.format(species=gas), units=units, standard_name=_name(variable, gas))


def _name(variable: Variable, gas: str) -> str | None:
    if variable.standard_name is None or "{species}" not in variable.standard_name:
        return variable.standard_name
    own = standard_name(gas)
    return None if own is None else variable.standard_name.format(species=own)


def standard_name(species: str) -> str | None:
    """Return the CF standard name of a gas's dry-air mole fraction, None where there is none here."""
    quantity = QUANTITIES.get(f"{species}_dry")
    return None if quantity is None else quantity.standard_name


_TIME = Variable(
    "time", ("time",), "M", standard_name="time", increasing=True, long_name="time (UTC), middle of the interval"
)

READINGS: Final = Schema(
    name="READINGS",
    variables=(
        replace(_TIME, long_name="time (UTC) of the measurement"),
        *(
            Variable(name, ("time",), "f", (q.unit,), q.standard_name, required=False, long_name=q.long_name)
            for name, q in QUANTITIES.items()
        ),
        Variable("port", ("time",), _TEXT, long_name="valve position as text, empty where there is no valve"),
        Variable("status", ("time",), "f", long_name="the instrument's status word, NaN where there is none"),
        Variable("mark", ("time",), "iu", long_name="bits of station_agent.sample.Mark"),
    ),
    attributes={"station": "text", "instrument": "text"},
    closed=True,
)
"""What one instrument sent, as `ingest.read.readings` returns it."""

_GAS = "{species}"

OBS: Final = Schema(
    name="OBS",
    variables=(
        _TIME,
        Variable("time_bnds", ("time", "bnds"), "M", long_name="start (included) and end (excluded) of the interval"),
        Variable(
            _GAS,
            ("time",),
            "f",
            tuple(TO_MOLE_FRACTION),
            standard_name=_GAS,
            attributes=("units", "scale"),
            long_name="dry-air mole fraction, kept also where it is not valid",
        ),
        Variable(f"{_GAS}_stdev", ("time",), "f", (_GAS,), long_name="standard deviation within the interval"),
        Variable(f"{_GAS}_n", ("time",), _NUMBER, ("1",), long_name="number of values the mean rests on"),
        Variable(f"{_GAS}_uncertainty", ("time",), "f", (_GAS,), long_name="standard uncertainty, all parts"),
        Variable(
            f"{_GAS}_flag",
            ("time",),
            "iu",
            attributes=("flag_values", "flag_meanings"),
            values=tuple(int(flag) for flag in Flag),
            long_name="QARTOD flag",
        ),
        Variable(
            f"{_GAS}_u_random",
            ("time",),
            "f",
            (_GAS,),
            required=False,
            long_name="part of the uncertainty that is independent between intervals",
        ),
        Variable(
            f"{_GAS}_u_shared",
            ("time",),
            "f",
            (_GAS,),
            required=False,
            long_name="part of the uncertainty that all intervals share and no averaging reduces",
        ),
        Variable(
            f"{_GAS}_cause",
            ("time",),
            "iu",
            required=False,
            attributes=("flag_masks", "flag_meanings"),
            long_name="the tests that set the flag, one bit each",
        ),
        Variable(
            f"{_GAS}_tests",
            ("time",),
            "i",
            required=False,
            attributes=("flag_masks", "flag_values", "flag_meanings"),
            long_name="what every test found, three bits each",
        ),
        Variable(
            f"{_GAS}_u_calibration",
            ("time",),
            "f",
            (_GAS,),
            required=False,
            long_name="part of the shared uncertainty that comes from calibration and assigned values",
        ),
        Variable(
            f"{_GAS}_provisional",
            ("time",),
            "iub",
            required=False,
            long_name="1 where the next calibration may change it, 0 where it is final",
        ),
        Variable(
            f"{_GAS}_without_sd",
            ("time",),
            "f",
            (_GAS,),
            required=False,
            long_name="mean without what the SD method calls spikes",
        ),
        Variable(
            f"{_GAS}_without_rebs",
            ("time",),
            "f",
            (_GAS,),
            required=False,
            long_name="mean without what REBS calls spikes",
        ),
        Variable(
            f"{_GAS}_n_rejected", ("time",), _NUMBER, ("1",), required=False, long_name="number of values left out"
        ),
        Variable(
            f"{_GAS}_n_minutes",
            ("time",),
            _NUMBER,
            ("1",),
            required=False,
            long_name="number of minutes the mean rests on",
        ),
        Variable(f"{_GAS}_selection", ("time",), "iub", required=False, long_name="1 background, 0 not; not a flag"),
    ),
    attributes={
        "station": "text",
        "inlet": "text",
        "inlet_height": "number",
        "latitude": "number",
        "longitude": "number",
        "altitude": "number",
    },
    each=f"{_GAS}_flag",
)
"""One series of one station and inlet; heights in m (inlet above ground, altitude of the ground above sea level)."""


def nanoseconds(time: xr.DataArray) -> NDArray[np.int64]:
    """Return times as whole nanoseconds since 1970 UTC, whatever the resolution they are kept in."""
    return time.values.astype("datetime64[ns]").astype("int64")


def valid(ds: xr.Dataset, species: str) -> xr.DataArray:
    """Return where the gas has a value and its flag is good.

    Parameters
    ----------
    ds : xr.Dataset
        OBS.
    species : str
        The gas, as ``"co2"``.

    Returns
    -------
    xr.DataArray
        bool (time).

    Raises
    ------
    SchemaError
        Where `ds` has no such gas.
    """
    known = OBS.species(ds)
    if species not in known or species not in ds.variables:
        raise SchemaError(OBS.name, [f"there is no gas {species!r}; it has {_listed(known)}"])
    return (ds[f"{species}_flag"] == int(Flag.GOOD)) & ds[species].notnull()


def require(ds: xr.Dataset, schema: Schema) -> None:
    """Check that a dataset meets a schema.

    Values are looked at only where they are in memory; lazy arrays are checked by dtype, dimensions
    and attributes.

    Parameters
    ----------
    ds : xr.Dataset
        What is to be checked; never changed.
    schema : Schema
        What it must look like.

    Raises
    ------
    SchemaError
        With all faults at once.
    """
    if not isinstance(ds, xr.Dataset):
        raise SchemaError(schema.name, [f"it is a {type(ds).__name__}, expected an xarray.Dataset"])
    faults = list(_faults(ds, schema))
    if faults:
        raise SchemaError(schema.name, faults)


def _faults(ds: xr.Dataset, schema: Schema) -> Iterator[str]:
    variables = tuple(schema.expand(ds))
    yield from _attribute_faults(ds, schema)
    if schema.each is not None and not schema.species(ds):
        yield f"no variable of the form {schema.each!r}, so there is no gas; it has {_listed(ds.variables)}"
    for variable in variables:
        if variable.name in ds.variables:
            yield from _variable_faults(ds[variable.name], variable)
        elif variable.required:
            yield f"variable {variable.name!r} is missing: {variable.long_name or 'required'}"
    if schema.closed:
        yield from _unknown(ds, {variable.name for variable in variables})
    yield from _bounds_faults(ds)


def _attribute_faults(ds: xr.Dataset, schema: Schema) -> Iterator[str]:
    for name, kind in schema.attributes.items():
        value = ds.attrs.get(name)
        if value is None:
            yield f"attribute {name!r} is missing, expected a {kind}"
        elif kind == "text" and not (isinstance(value, str) and value.strip()):
            yield f"attribute {name!r} is {value!r}, expected a text that is not empty"
        elif kind == "number" and not _is_number(value):
            yield f"attribute {name!r} is {value!r}, expected a finite number"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool) and bool(np.isfinite(value))


def _variable_faults(array: xr.DataArray, variable: Variable) -> Iterator[str]:
    name = variable.name
    if array.dims != variable.dims:
        yield f"{name!r} has dimensions {_tuple(array.dims)}, expected {_tuple(variable.dims)}"
    if array.dtype.kind not in variable.kind:
        yield f"{name!r} is {array.dtype} ({_KINDS.get(array.dtype.kind, '?')}), expected {_kinds(variable.kind)}"
    units = array.attrs.get("units")
    if variable.units and units not in variable.units:
        expected = " or ".join(repr(unit) for unit in variable.units)
        yield f"{name!r} has units {units!r}, expected {expected}; convert the values, not only the attribute"
    stated = array.attrs.get("standard_name")
    if variable.standard_name and stated is not None and stated != variable.standard_name:
        yield f"{name!r} has standard_name {stated!r}, expected {variable.standard_name!r}"
    for attribute in variable.attributes:
        value = array.attrs.get(attribute)
        if value is None or (isinstance(value, str) and not value.strip()):
            yield f"{name!r} has no attribute {attribute!r}{_hint(attribute)}"
    if array.chunks is None and array.dtype.kind in variable.kind:
        yield from _value_faults(array, variable)


def _hint(attribute: str) -> str:
    return "; a calibration scale is never guessed, state it" if attribute == "scale" else ""


def _value_faults(array: xr.DataArray, variable: Variable) -> Iterator[str]:
    values = array.values
    if variable.values and values.size:
        strange = np.setdiff1d(values, variable.values)
        if strange.size:
            yield f"{variable.name!r} holds {_listed(strange[:5])}, expected only {_listed(variable.values)}"
    if not variable.increasing or values.ndim != 1:
        return
    if values.dtype.kind == "M" and np.isnat(values).any():
        yield f"{variable.name!r} has {int(np.isnat(values).sum())} missing values (NaT)"
        return
    backward = np.flatnonzero(values[1:] <= values[:-1])
    if backward.size:
        i = int(backward[0])
        yield (
            f"{variable.name!r} does not increase strictly at {backward.size} places, first at index {i + 1}: "
            f"{values[i + 1]} after {values[i]}; sort it and drop what is double"
        )


def _bounds_faults(ds: xr.Dataset) -> Iterator[str]:
    if "time" not in ds.variables or "time_bnds" not in ds.variables:
        return
    time, bounds = ds["time"], ds["time_bnds"]
    usable = bounds.dims == ("time", "bnds") and bounds.sizes["bnds"] == 2
    if not usable or bounds.chunks is not None or time.dtype.kind != "M" or bounds.dtype.kind != "M":
        if "bnds" in bounds.dims and bounds.sizes["bnds"] != 2:
            yield f"'time_bnds' has {bounds.sizes['bnds']} bounds a time, expected 2"
        return
    start, end = bounds.values[:, 0], bounds.values[:, 1]
    empty = int((~(end > start)).sum())
    if empty:
        yield f"'time_bnds' has {empty} intervals that do not end after their start"
    outside = int((~((time.values >= start) & (time.values <= end))).sum())
    if outside:
        yield f"'time' lies outside its own 'time_bnds' at {outside} of {time.size} places"


def _unknown(ds: xr.Dataset, known: set[str]) -> Iterator[str]:
    for name in ds.variables:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            yield f"variable {name!r} is not known{f', did you mean {near[0]!r}?' if near else ''}"


def _tuple(dims: Iterable[Any]) -> str:
    return f"({', '.join(str(dim) for dim in dims)})"


def _kinds(kinds: str) -> str:
    return " or ".join(dict.fromkeys(_KINDS[kind] for kind in kinds))


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(str(name) for name in names) or "none"


def describe(schema: Schema) -> str:
    """Return a schema as a Markdown table: variable, dimensions, type, units, required, meaning."""
    rows = [
        (
            variable.name,
            _tuple(variable.dims),
            _kinds(variable.kind),
            " or ".join(variable.units) or "-",
            "yes" if variable.required else "no",
            variable.long_name or "-",
        )
        for variable in schema.variables
    ]
    head = ("variable", "dimensions", "type", "units", "required", "meaning")
    lines = [f"{schema.name}", "", _row(head), _row(["---"] * len(head)), *map(_row, rows)]
    if schema.attributes:
        lines += ["", "Attributes: " + ", ".join(f"{name} ({kind})" for name, kind in schema.attributes.items())]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
