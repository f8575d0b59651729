"""The command itself: what it lists, how it fails, what it says in words. Nothing here runs a service."""

from __future__ import annotations

import importlib
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from streamer import __version__
from streamer.cli import logs
from streamer.cli.main import COMMANDS, EXIT_STATUS, exit_status, main
from streamer.config.tree import Logging
from streamer.ports import LogError, OwnerStatus, TopicsMissingError

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """The command on an embedded log in a folder of this test's own."""
    environment = {
        "STREAMER_LOG__KIND": "embedded",
        "STREAMER_LOG__ROOT": str(tmp_path / "log"),
        "STREAMER_REDIS__ROOT": str(tmp_path / "valkey"),
        "STREAMER_SNAPSHOTS__ROOT": str(tmp_path / "snapshots"),
    }
    return lambda *arguments: CliRunner().invoke(main, [str(one) for one in arguments], env=environment)


def test_help_lists_every_command_with_what_it_does(run: Run) -> None:
    result = run("--help")
    assert result.exit_code == 0
    shown = " ".join(result.output.split())
    for name, entry in COMMANDS.items():
        assert f"{name} {entry.summary}" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_is_listed_exists_and_explains_itself(run: Run, name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) > 4


def test_help_and_status_start_without_the_engine_and_the_clients() -> None:
    heavy = {"numba", "numpy", "torch", "kafka", "redis", "transformers"}
    code = "import sys, streamer.cli.main, streamer.cli.status; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert heavy & set(done.stdout.split()) == set()


def test_version_is_the_package_s(run: Run) -> None:
    assert run("--version").output == f"streamer {__version__}\n"


def test_a_command_that_does_not_exist_is_bad_usage(run: Run) -> None:
    result = run("backup")
    assert result.exit_code == 2
    assert "No such command 'backup'" in result.stderr


@pytest.mark.parametrize("name", EXIT_STATUS)
def test_every_error_that_is_expected_exists(name: str) -> None:
    module, _, kind = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), kind), Exception)


def test_errors_are_known_by_their_bases_and_bugs_are_not_expected() -> None:
    assert exit_status(TopicsMissingError("none")) == 1
    assert exit_status(PermissionError("no")) == 1
    assert exit_status(BrokenPipeError()) is None
    assert exit_status(KeyError("bug")) is None


def test_a_wrong_configuration_ends_with_2_and_a_message_without_traceback(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "streamer.toml"
    file.write_text("[kafka]\npartition = 3\n")
    result = run("topics", "check", "--config", file)
    assert result.exit_code == 2
    assert "kafka.partition is unknown" in result.stderr
    assert "nearest known one is kafka.partitions" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_configuration_file_is_used(tmp_path: Path, run: Run) -> None:
    file = tmp_path / "streamer.toml"
    file.write_text('[kafka]\ntopic_prefix = "shop."\n')
    assert "shop.events: missing" in run("topics", "check", "--config", file).stdout


def test_a_bug_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("streamer.cli.topics.open_admin", broken)
    assert isinstance(run("topics", "check").exception, ZeroDivisionError)


def test_a_log_that_refuses_ends_with_1_and_its_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise LogError("the log is away; start it", retriable=True)

    monkeypatch.setattr("streamer.cli.topics.open_admin", away)
    result = run("topics", "check")
    assert (result.exit_code, result.stderr) == (1, "Error: the log is away; start it\n")


def test_status_without_a_worker_says_what_to_do(run: Run) -> None:
    result = run("status", "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "no worker answers at http://127.0.0.1:9" in result.stderr
    assert "streamer worker" in result.stderr


def test_the_status_fields_are_those_of_the_contract() -> None:
    fields = "role namespace epoch generation counters offsets snapshot lag"  # what was added since comes behind
    fields += " learning lists"
    assert OwnerStatus.__slots__ == tuple(fields.split())


@pytest.mark.parametrize("text", ["874724710", "yesterday", "2026-11-24T03:17:38"])
def test_a_time_that_cannot_be_is_bad_usage(run: Run, tmp_path: Path, text: str) -> None:
    result = run("replay", tmp_path / "x.jsonl", "--from", text)
    assert result.exit_code == 2
    assert "--from" in result.stderr


def test_a_speed_that_cannot_be_is_bad_usage(run: Run, tmp_path: Path) -> None:
    result = run("replay", tmp_path / "x.jsonl", "--speed", "fast")
    assert result.exit_code == 2
    assert "expected max or a number above 0" in result.stderr


def test_a_namespace_that_cannot_be_is_refused(run: Run, tmp_path: Path) -> None:
    result = run("replay", tmp_path / "x.jsonl", "--namespace", "{a}")
    assert result.exit_code == 2
    assert "namespace" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("replay", "nowhere.jsonl"), 2, "cannot be read"),
        (("replay", "x.jsonl", "--speed", "fast"), 2, "expected max or a number above 0"),
        (("replay", "x.jsonl", "--nothing"), 2, "--nothing"),
        (("status", "--url", "http://127.0.0.1:9"), 1, "no worker answers"),
        (("recommend", "u1"), 1, "no Valkey server runs"),
    ],
)
def test_a_command_that_fails_says_so_in_json_too(run: Run, arguments: tuple[str, ...], status: int, words: str) -> None:
    result = run(*arguments, "--json")
    told = json.loads(result.stdout.splitlines()[-1])
    assert (result.exit_code, told["status"]) == (status, status)
    assert words in told["error"]
    assert words in result.stderr
    assert run(*arguments).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--namespace", "a", "--configured"), "--namespace and --configured name two targets"),
        (("--live", "a"), "give --namespace NAMESPACE or --configured as well"),
        (("--namespace", "a", "--live", "b"), "--live names 'b', but the replay goes to 'a'"),
        (("--configured", "--live", "b"), "--live names 'b', but the replay goes to 'default'"),
    ],
)
def test_a_target_that_is_not_clear_is_bad_usage(run: Run, tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = run("replay", tmp_path / "x.jsonl", *arguments)
    assert (result.exit_code, words in result.stderr) == (2, True), result.stderr


def test_sort_puts_a_recording_in_order_and_keeps_equal_times_as_they_stand(run: Run, tmp_path: Path) -> None:
    ratings = tmp_path / "ratings.inter"
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    ratings.write_text(header + "u1\ta\t5\t874724712\nu2\tb\t3\t874724711\nu3\tc\t4\t874724712\n")
    result = run("sort", ratings)
    assert result.exit_code == 0
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(event["user_id"], event["type"]) for event in events] == [("u2", "click"), ("u1", "purchase"), ("u3", "purchase")]
    assert run("sort", ratings, "-o", tmp_path / "sorted.jsonl").stdout == ""
    assert (tmp_path / "sorted.jsonl").read_text() == result.stdout


def record(message: str, *arguments: object, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("consumers.owner", logging.WARNING, __file__, 1, message, arguments, None)
    made.created = 1_795_485_458.344
    made.__dict__.update(fields)
    return made


def test_a_log_line_is_one_line_of_json_with_extra_fields() -> None:
    line = logs.JsonLines().format(record("lag is %d\n", 7, partition=3, folder=Path("a"), ratio=float("nan")))
    assert "\n" not in line
    assert json.loads(line) == {
        "ts": "2026-11-24T01:57:38.344Z",
        "level": "WARNING",
        "logger": "consumers.owner",
        "message": "lag is 7\n",
        "folder": "a",
        "partition": 3,
        "ratio": None,
    }


def test_an_error_carries_its_traceback_and_text_without_utf8_is_no_obstacle() -> None:
    try:
        raise ValueError("bad \udcff name")  # noqa: TRY301 - it is caught to have a traceback
    except ValueError:
        failed = record("failed")
        failed.exc_info = sys.exc_info()
    found = json.loads(logs.JsonLines().format(failed))
    assert "Traceback" in found["error"]
    assert found["error"].endswith("ValueError: bad ? name\n")


@pytest.mark.parametrize(("log_format", "begins"), [("json", '{"ts":"'), ("text", "20")])
def test_logs_go_to_stderr_in_the_configured_format(log_format: str, begins: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up(Logging(format=log_format, level="INFO"))  # type: ignore[arg-type]
    logging.getLogger("consumers.owner").info("started")
    logging.getLogger("consumers.owner").debug("not this")
    logging.getLogger("kafka.net.manager").error("nor this, which we tell in other words")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(begins)
    assert len(err.splitlines()) == 1
    assert "started" in err


def test_options_of_all_commands_have_a_help_text() -> None:
    def silent(command: click.Command, path: str) -> Iterator[str]:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and not parameter.help:
                yield f"{path} {parameter.name}"
        for name, one in command.commands.items() if isinstance(command, click.Group) and command is not main else ():
            yield from silent(one, f"{path} {name}")

    context = click.Context(main)
    commands = {name: main.get_command(context, name) for name in COMMANDS}
    assert [line for name, command in commands.items() if command for line in silent(command, name)] == []


def test_sort_writes_one_line_a_record_however_the_recording_is_laid_out(run: Run, tmp_path: Path) -> None:
    events = [{"type": "click", "user_id": "u", "item_id": "i", "timestamp": 1_795_485_458_344 - n} for n in range(3)]
    path = tmp_path / "array.json"
    path.write_text(json.dumps(events, indent=2))
    result = run("sort", path)
    assert result.exit_code == 0, result.output
    assert [json.loads(line) for line in result.stdout.splitlines()] == events[::-1]
