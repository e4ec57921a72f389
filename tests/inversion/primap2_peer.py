"""Runs under the Python of `.ci/primap2`, apart from the project: what primap2 and climate-categories themselves say.

python primap2_peer.py back YAML STEM     read YAML, print what is in it, write it anew as STEM.csv and STEM.yaml
python primap2_peer.py vocabularies       print the codes of the categorizations
"""

import json
import sys


def back(path, stem):
    import primap2  # noqa: PLC0415 - the other command does without

    data = primap2.pm2io.from_interchange_format(primap2.pm2io.read_interchange_format(path))
    primap2.pm2io.write_interchange_format(stem, data.pr.to_interchange_format())
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
    import climate_categories  # noqa: PLC0415

    names = ("IPCC2006", "IPCC2006_PRIMAP", "CRF2013", "CRF2013_2023", "ISO3")
    return {name: sorted(climate_categories.cats[name].keys()) for name in names}


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    print(json.dumps({"back": back, "vocabularies": vocabularies}[command](*arguments)))
