"""Dask on Kubernetes and on Slurm: the files against the operator's own schema and the job queue's own scripts."""

import json
import os
import subprocess
from pathlib import Path

import dask.config
import pytest
import yaml

from deploy.pki import parcel
from tests.servers import absent

FOLDER = Path(__file__).parents[2] / "deploy/dask"
VARIABLE = "SKYLEDGER_TEST_MACHINES"
VALIDATE = """
import json, sys, importlib.resources, yaml, jsonschema
text = (importlib.resources.files("dask_kubernetes.operator") / "customresources/templates.yaml").read_text()
templates = yaml.safe_load(text.replace("python://dask_kubernetes/operator/customresources/templates.yaml", ""))

def known(node):  # Kubernetes' own parts, as PodSpec, are not shipped with the operator: any object
    if isinstance(node, dict):
        if str(node.get("$ref", "")).startswith("python://"):
            return {"type": "object"}
        return {key: known(value) for key, value in node.items()}
    return [known(value) for value in node] if isinstance(node, list) else node

schema = {"$ref": "#/definitions/dask.k8s.api.v1.DaskCluster", **known(templates)}
for line in sys.stdin:
    errors = jsonschema.Draft7Validator(schema).iter_errors(json.loads(line))
    print(json.dumps([error.json_path + ": " + error.message for error in errors]))
"""


@pytest.fixture(scope="session")
def checks():
    """Programs of the environment that .ci/machines makes."""
    named = os.environ.get(VARIABLE)
    if not named:
        absent(f"{VARIABLE} names no environment: make it with .ci/machines, and set it to .venv-machines/bin")
    return Path(named)


def manifests():
    return list(yaml.safe_load_all((FOLDER / "cluster.yaml").read_text()))


def test_the_cluster_is_what_the_operator_takes(checks):
    cluster = manifests()[0]
    broken = json.loads(json.dumps(cluster))
    del broken["spec"]["scheduler"]["service"]
    done = subprocess.run(
        [checks / "python", "-c", VALIDATE],
        input="\n".join(map(json.dumps, (cluster, broken))), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said[0] == []
    assert "'service' is a required property" in said[1][0]


def test_every_pod_is_restrained_and_speaks_tls():
    cluster, claim, policy = manifests()
    assert (claim["kind"], policy["kind"]) == ("PersistentVolumeClaim", "NetworkPolicy")
    for part in ("scheduler", "worker"):
        pod = cluster["spec"][part]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert {"name": "DASK_CONFIG", "value": "/etc/skyledger-dask"} in container["env"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        assert any("tls" in str(argument) for argument in container["args"])
    assert cluster["spec"]["scheduler"]["spec"]["containers"][0]["image"].count(":") == 1
    secret = next(v for v in pod["volumes"] if v["name"] == "tls")["secret"]
    assert secret["secretName"] == "skyledger-dask"
    assert cluster["spec"]["scheduler"]["service"]["type"] == "ClusterIP"


def test_what_the_configuration_of_tls_says_is_what_dask_reads(tmp_path):
    (tmp_path / "tls.yaml").write_text(parcel.dask_configuration("alpha"))
    read = dask.config.collect(paths=[tmp_path], env={})
    assert dask.config.get("distributed.comm.require-encryption", config=read) is True
    assert dask.config.get("distributed.comm.tls.worker.key", config=read) == "/etc/skyledger-dask/alpha.key"
    assert dask.config.get("distributed.comm.default-scheme", config=read) == "tls"


def test_the_script_of_a_slurm_job(checks, tmp_path):
    command = [checks / "python", FOLDER / "slurm.py", "--script"]
    environment = {**os.environ, "DASK_CONFIG": str(FOLDER / "jobqueue.yaml")}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert {"#SBATCH --cpus-per-task=4", "#SBATCH -t 04:00:00", "#SBATCH --requeue"} <= set(lines)
    assert "export OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1" in lines
    assert lines[-1].startswith("/opt/skyledger/bin/python -m distributed.cli.dask_worker tcp://")
    assert "--nworkers 4 " in lines[-1]


def test_a_command_is_given_the_schedulers_address_and_its_status_comes_back(checks, tmp_path):
    """No Slurm: no job is asked for; what is tried is the way of the command."""
    said = ["sh", "-c", 'echo "$@"; exit 3', "sh"]
    command = [checks / "python", FOLDER / "slurm.py", "--jobs", "0", *said]
    environment = {**os.environ, "DASK_CONFIG": str(FOLDER / "jobqueue.yaml")}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3, done.stderr
    assert done.stdout.startswith("--scheduler tcp://")
    done = subprocess.run(command[:2], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "no command: expected one as `skyledger invert CONFIG.toml`" in done.stderr
