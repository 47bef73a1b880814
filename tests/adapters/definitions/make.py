"""Makes the sample result files anew, by the programs themselves: `python make.py KIND`.

KIND is promptfoo, deepeval, pytest or inspect, which has to be on the PATH (pytest with pytest-repeat,
pytest-json-report and pytest-reportlog). The files of the closed desk are the samples in data/ (Inspect
has one already), those of the other two lie beside the tests that compare them; names of the machine and
its paths are taken out of them. Nothing is asked over a network.
"""

import getpass
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parents[2] / "data" / "samples"
COMPARED = HERE.parent / "result_files"
QUIET = {
    "PROMPTFOO_DISABLE_TELEMETRY": "1",
    "PROMPTFOO_DISABLE_UPDATE": "1",
    "PROMPTFOO_DISABLE_REMOTE_GENERATION": "1",
    "DEEPEVAL_TELEMETRY_OPT_OUT": "YES",
}


def promptfoo(desk: str, work: Path) -> dict[str, Path]:
    few = ["--filter-first-n", "3"] if desk == "desk-closed" else ["--repeat", "2"]
    command = ["promptfoo", "eval", "-c", "promptfooconfig.json", "--filter-providers", desk, *few]
    files = {"promptfoo": work / f"{desk}.json", "promptfoo_lines": work / f"{desk}.jsonl"}
    for file in files.values():  # a run each: two files of one run would be the same missions twice
        run([*command, "--no-cache", "--no-table", "-o", file.name], desk, work)
    return files


def deepeval(desk: str, work: Path) -> dict[str, Path]:
    few = ["-k", "fare"] if desk == "desk-closed" else ["-r", "2"]
    run(["deepeval", "test", "run", "desk_deepeval.py", "-i", *few], desk, work)
    return {"deepeval": next((work / "results").glob("*.json"))}


def pytest(desk: str, work: Path) -> dict[str, Path]:
    few = ["-k", "fare or boat"] if desk == "desk-closed" else []
    kinds = {"junit_xml": "xml", "pytest_json_report": "json", "pytest_reportlog": "jsonl"}
    reports = ["--junitxml", f"{desk}.xml", "--json-report", "--json-report-file", f"{desk}.json"]
    omitted = ["--json-report-omit", "collectors", "traceback", "keywords", "streams", "log"]
    more = ["--report-log", f"{desk}.jsonl", "-o", "junit_family=xunit1", "-p", "no:cacheprovider"]
    run(["pytest", "-q", "--tb=line", "desk_pytest.py", *few, *reports, *omitted, *more], desk, work)
    return {kind: work / f"{desk}.{ending}" for kind, ending in kinds.items()}


def inspect(desk: str, work: Path) -> dict[str, Path]:
    model, logs = f"mockllm/{desk}", ["--log-dir", "logs", "--display", "plain", "--log-format", "json"]
    run(["inspect", "eval", "desk_inspect.py", "--model", model, "--limit", "8", *logs], desk, work)
    return {"inspect_ai": next((work / "logs").glob("*.json"))}


def run(command: list[str], desk: str, work: Path) -> None:
    environment = os.environ | QUIET | {"DESK": desk, "DEEPEVAL_RESULTS_FOLDER": str(work / "results")}
    subprocess.run(command, cwd=work, env=environment, check=False)


def scrubbed(text: str, work: Path) -> str:
    text = text.replace(str(work.resolve()), "/home/clerk/desk").replace(str(work), "/home/clerk/desk")
    text = text.replace(work.name, "desk")
    names = {platform.node(): "harbour", getpass.getuser(): "clerk"}
    names.pop("root", None)
    for name, plain in names.items():
        text = re.sub(rf"\b{re.escape(name)}\b", plain, text)
    if text.startswith("{") and "\n  " in text[:200]:
        text = json.dumps(json.loads(text))
    return re.sub(r"/[^\s\"']*/site-packages/", "/site-packages/", text)


def main() -> None:
    kind = sys.argv[1]
    desks = ["desk-v1", "desk-v2", "desk-closed"]
    for desk in desks[:2] if kind == "inspect" else desks:
        with tempfile.TemporaryDirectory() as temporary:
            work = Path(temporary)
            shutil.copytree(HERE, work, dirs_exist_ok=True)
            folder = SAMPLES if desk == "desk-closed" else COMPARED
            for name, path in globals()[kind](desk, work).items():
                target = folder / name / f"{desk.replace('-', '_')}{path.suffix}"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(scrubbed(path.read_text(), work))


if __name__ == "__main__":
    main()
