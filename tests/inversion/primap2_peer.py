"""Runs under the Python of `.ci/primap2`, apart from the project: what primap2 and climate-categories themselves say.

Called with YAML files, it prints what primap2 read of each, having written it anew as ``again.csv`` and ``again.yaml``
beside it, and the codes of the categorizations: all at once, for its imports take longer than all it does.
"""

import json
import sys
from pathlib import Path

import climate_categories
import primap2


def back(path):
    data = primap2.pm2io.from_interchange_format(primap2.pm2io.read_interchange_format(path))
    primap2.pm2io.write_interchange_format(Path(path).with_name("again"), data.pr.to_interchange_format())
    arrays = {name: variable.pint.dequantify() for name, variable in data.items()}
    return {
        "dims": dict(data.sizes),
        "coords": {str(name): [str(value) for value in c.values] for name, c in data.coords.items()},
        "attrs": dict(data.attrs),
        "units": {name: str(data[name].pint.units) for name in arrays},
        "sums": {name: float(a.sum()) for name, a in arrays.items()},
        "by_area": {
            name: dict(zip(map(str, a[data.attrs["area"]].values), values.tolist(), strict=True))
            for name, a in arrays.items()
            for values in [a.sum([d for d in a.dims if d != data.attrs["area"]]).values]
        },
        "in_gg": {name: float(data[name].pint.to(f"Gg {name} / year").sum().pint.magnitude) for name in arrays},
    }


def vocabularies():
    names = ("IPCC2006", "IPCC2006_PRIMAP", "CRF2013", "CRF2013_2023", "ISO3")
    return {name: sorted(climate_categories.cats[name].keys()) for name in names}


if __name__ == "__main__":
    print(json.dumps({"back": [back(path) for path in sys.argv[1:]], "vocabularies": vocabularies()}))
