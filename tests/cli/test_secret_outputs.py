"""A secret of a flow is in no output of a service: control server, page, log, files, commands."""

from __future__ import annotations

import json
import signal
import urllib.request
from base64 import b64encode
from pathlib import Path

import pytest
import redis
from click.testing import CliRunner

from lifecycle.cli import cli

from .service import serving

SECRET = "hunter2-is-no-good-password"

HANDLERS = """
import anyio
from pathlib import Path
from lifecycle.scheduler import handler

@handler("leak.keeps")
async def keeps(token, directory):
    while not Path(directory, "go").exists():
        await anyio.sleep(0.05)

@handler("leak.raises")
async def raises(token, context):
    context.log(f"using {token}")
    raise ValueError(f"cannot log in with {token}")
"""

FLOW = """
name = "leak"
handlers = "leaks.py"
[blocks.keeps]
call = "leak.keeps"
args = { token = "${env:LEAK_TOKEN}", directory = "DIRECTORY" }
[blocks.raises]
call = "leak.raises"
args = { token = "${env:LEAK_TOKEN}" }
[blocks.shell]
shell = 'echo "$TOKEN"; echo "$TOKEN" >&2; printf %s "$TOKEN" | base64; exit 3'
env = { TOKEN = "${env:LEAK_TOKEN}" }
ok = [3]
"""


@pytest.mark.slow
def test_a_secret_is_in_no_output_of_a_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a job that has it runs, and when jobs have failed with it in their mouths."""
    monkeypatch.setenv("LEAK_TOKEN", SECRET)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "leaks.py").write_text(HANDLERS)
    (tmp_path / "leak.toml").write_text(FLOW.replace("DIRECTORY", str(tmp_path)))
    outputs: dict[str, str] = {}
    with serving(tmp_path, "leak.toml", "--web", "127.0.0.1:0", "--log-level", "debug") as service:
        web = service.logged("web page").rpartition(" ")[2]
        with redis.Redis(port=service.port, protocol=3, decode_responses=True) as client:
            client.execute_command("LC.ENQUEUE", "leak")
            service.logged("raises: failed")
            service.logged("shell: succeeded")
            for words in (["LC.LIST"], ["LC.STATUS"], *(["LC.STATUS", str(job)] for job in (1, 2, 3)), ["INFO"]):
                outputs[" ".join(words)] = repr(client.execute_command(*words))
            for path in ("", "api/statistics", "api/jobs", "api/schedules", "api/owners"):
                with urllib.request.urlopen(f"{web}{path}") as answer:
                    outputs[path] = answer.read().decode()
            service.process.send_signal(signal.SIGUSR1)
            service.logged("state of the process")
            for command in (["list"], ["show", "1"], ["show", "2"], ["show", "3"], ["show", "2", "--json"]):
                outputs[" ".join(command)] = CliRunner().invoke(cli, ["jobs", *command, "--db", "jobs.db"]).output
            (tmp_path / "go").touch()
            service.logged("keeps: succeeded")
        service.process.terminate()
        assert service.ended() == 0
        outputs["log"] = json.dumps(service.log)
    outputs["files"] = "".join(file.read_bytes().decode("latin-1") for file in tmp_path.glob("jobs.db*"))
    assert "***" in outputs["show 2"]
    for what, text in outputs.items():
        assert text, what
        for form in (SECRET, b64encode(SECRET.encode()).decode().rstrip("=")):
            assert form not in text, what
