"""The chain again, slowly: plain Python loops over rows, no numpy, for the tests to compare with."""

import math
from collections import defaultdict
from statistics import fmean

GOOD, NOT_EVALUATED, SUSPECT, BAD, MISSING = 1, 2, 3, 4, 9
STATE, RANGE, FLUSHING, TOO_FEW, WATER = 1, 2, 4, 8, 16


def rows_of(ds):
    """Return READINGS as a list of dicts, `t` in integer milliseconds, missing as None."""
    table = []
    for i in range(ds.sizes["time"]):
        row = {"t": int(ds["time"].values[i].astype("datetime64[ms]").astype("int64"))}
        for name in ds.data_vars:
            x = ds[name].values[i]
            row[name] = x if name == "port" else (None if math.isnan(x) else float(x))
        table.append(row)
    return table


def h_at(table, i, *, humidity, gap_s):
    if table[i][humidity] is not None:
        return table[i][humidity]
    around = []
    for step in (-1, 1):
        j = i + step
        while 0 <= j < len(table) and table[j][humidity] is None:
            j += step
        if 0 <= j < len(table) and abs(table[j]["t"] - table[i]["t"]) <= gap_s * 1000:
            around.append(table[j][humidity])
    return fmean(around) if around else None


def settled_port(table, i, outage):
    still = [row for row in table if row["port"] != "moving"]
    later = [row for row in still if row["t"] >= table[i]["t"]][:1]
    earlier = [row for row in still if row["t"] < table[i]["t"]][-1:]
    for row in later + earlier:
        if abs(row["t"] - table[i]["t"]) <= outage * 1000:
            return row["port"]
    return None


def flushing(table, i, seconds, outage):
    if table[i]["port"] == "moving":
        return True
    k = i
    while k > 0 and table[k - 1]["port"] == table[i]["port"] and table[k]["t"] - table[k - 1]["t"] <= outage * 1000:
        k -= 1
    return table[i]["t"] - table[k]["t"] < seconds * 1000


def judged(table, *, ports, seconds, outage, a, b, gap_s, pressure, bad):
    """Return (t, dry value, flag, cause) of each own co2 row of the inlet."""
    out = []
    for i, row in enumerate(table):
        if row["co2"] is None or (ports and settled_port(table, i, outage) not in ports):
            continue
        flag, cause = GOOD, 0
        p = row["cavity_pressure"]
        if p is not None and not pressure[0] <= p <= pressure[1]:
            flag, cause = max(flag, BAD), cause | STATE
        if flushing(table, i, seconds, outage) if ports else row["port"] == "moving":
            flag, cause = max(flag, BAD), cause | FLUSHING
        h = h_at(table, i, humidity="h2o_reported", gap_s=gap_s)
        if h is None:
            dry, flag, cause = math.nan, max(flag, NOT_EVALUATED), cause | WATER
        else:
            dry = row["co2"] / (1 + a * h + b * h * h)
            if not bad[0] <= dry <= bad[1]:
                flag, cause = max(flag, BAD), cause | RANGE
        out.append((row["t"], dry, flag, cause))
    return out


def means(judged_rows, width_ms):
    """Return start -> (mean, population SD, n, rejected, worst flag and causes of the rejected)."""
    groups = defaultdict(list)
    for t, dry, flag, cause in judged_rows:
        groups[t // width_ms * width_ms].append((dry, flag, cause))
    result = {}
    for start, group in sorted(groups.items()):
        good = [dry for dry, flag, _ in group if flag == GOOD]
        causes = 0
        for _, _, cause in group:
            causes |= cause
        mean = fmean(good) if good else math.nan
        sd = math.sqrt(fmean([(x - mean) ** 2 for x in good])) if good else math.nan
        result[start] = (mean, sd, len(good), len(group) - len(good), max(flag for _, flag, _ in group), causes)
    return result
