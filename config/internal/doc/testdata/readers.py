"""Reads documents as other programs do. Each line of standard input is a JSON
object {format, text, path, want}; each line of the answer says what a reader
sees differently, or nothing. Values are tagged with their type."""

import datetime
import io
import json
import math
import sys
import tomllib

import json5
import yaml
from ruamel.yaml import YAML


def tagged(v):
    if v is None:
        return ["null"]
    if isinstance(v, bool):
        return ["bool", "true" if v else "false"]
    if isinstance(v, int):
        return ["int", str(v)]
    if isinstance(v, float):
        return ["float", "nan" if math.isnan(v) else repr(float(v))]
    if isinstance(v, str):
        return ["str", v]
    if isinstance(v, (datetime.date, datetime.datetime, datetime.time)):
        return ["time", str(v)]
    if isinstance(v, dict):
        return ["map", sorted([str(k), tagged(x)] for k, x in v.items())]
    if isinstance(v, (list, tuple)):
        return ["list", [tagged(x) for x in v]]
    return ["other", repr(v)]


def wanted(w):
    """Writes floats as Python does."""
    if w[0] == "float":
        return tagged(float(w[1]))
    if w[0] == "map":
        return ["map", sorted([k, wanted(x)] for k, x in w[1])]
    if w[0] == "list":
        return ["list", [wanted(x) for x in w[1]]]
    return w


def ruamel(text):
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 2)
    return reader.load(io.StringIO(text))


READERS = {
    "yaml": [("PyYAML", lambda t: yaml.load(t, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))],
    "yaml12": [("ruamel", ruamel)],
    "toml": [("tomllib", tomllib.loads)],
    "json": [("json", json.loads)],
    "jsonc": [("json5", json5.loads)],
}

for line in sys.stdin:
    case = json.loads(line)
    wrong = ""
    for name, read in READERS[case["format"]]:
        try:
            got = read(case["text"])
            for part in case["path"]:
                got = got[part]
            got = tagged(got)
        except Exception as err:  # whatever a reader raises is its verdict
            got = ["error", str(err)]
        if got != wanted(case["want"]):
            wrong = f"{name} sees {got}, want {wanted(case['want'])}"
    print(json.dumps(wrong), flush=True)
