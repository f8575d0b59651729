"""Where configuration comes from, what wins, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamer.config import Config, ConfigError, from_environment, load, public_dict
from streamer.config.keys import all_keys
from streamer.config.masking import masked


def toml(folder: Path, text: str) -> Path:
    path = folder / "streamer.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(environ: dict[str, str] | None = None, *, path: Path | None = None, **overrides: object) -> str:
    with pytest.raises(ConfigError) as raised:
        load(path, environ or {}, {name.replace("__", "."): value for name, value in overrides.items()})
    return str(raised.value)


def test_without_any_source_the_defaults_hold():
    assert load(None, {"PATH": "/bin", "STREAMERS": "3"}) == Config()


def test_the_environment_wins_over_the_file_and_the_command_line_over_both(tmp_path: Path):
    path = toml(tmp_path, 'namespace = "file"\n[kafka]\npartitions = 2\nmax_poll_records = 7\n[head]\nlearning_rate = 1\n')
    environ = {"STREAMER_NAMESPACE": "env", "STREAMER_KAFKA__PARTITIONS": "3"}
    config = load(path, environ, {"kafka.partitions": 4, "http.port": "0"})
    assert config.namespace == "env"
    assert (config.kafka.partitions, config.kafka.max_poll_records, config.http.port) == (4, 7, 0)
    assert config.head.learning_rate == 1.0
    assert config.redis == Config().redis


def test_text_from_the_environment_becomes_the_type_of_its_key():
    environ = {
        "STREAMER_SEED": "7",
        "STREAMER_HEAD__LEARNING_RATE": "1e-3",
        "STREAMER_KAFKA__SSL_CHECK_HOSTNAME": "false",
        "STREAMER_RANKING__EXCLUDE_SEEN": "true",
        "STREAMER_LOG__KIND": "embedded",
        "STREAMER_REDIS__URL": "",
        "STREAMER_KAFKA__TOPIC_PREFIX": "",
    }
    config = load(None, environ)
    assert (config.seed, config.head.learning_rate, config.kafka.ssl_check_hostname) == (7, 0.001, False)
    assert (config.ranking.exclude_seen, config.log.kind) == ("true", "embedded")
    assert (config.redis.url, config.kafka.topic_prefix) == (None, "")


def test_a_toml_boolean_may_stand_for_the_word(tmp_path: Path):
    assert load(toml(tmp_path, "[ranking]\nexclude_seen = false\n"), {}).ranking.exclude_seen == "false"


def test_the_process_environment_is_read_by_its_own_function(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("STREAMER_HTTP__PORT", "9000")
    assert from_environment(overrides={"namespace": "n"}).http.port == 9000


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("STREAMER_KAFKA__PARTITION", "STREAMER_KAFKA__PARTITIONS"),
        ("STREAMER_KAFKA_PARTITIONS", "STREAMER_KAFKA__PARTITIONS"),
        ("STREAMER_NAMESPCE", "STREAMER_NAMESPACE"),
        ("STREAMER_KAFKA__SASL_PASSWRD", "STREAMER_KAFKA__SASL_PASSWORD"),
    ],
)
def test_an_unknown_variable_names_the_nearest_one_and_never_its_value(name: str, nearest: str):
    message = refused({name: "hush"})
    assert name in message
    assert message.endswith(f"{nearest}; correct or unset it")
    assert "hush" not in message


def test_an_unknown_key_of_the_file_names_file_key_and_nearest(tmp_path: Path):
    path = toml(tmp_path, "[kafka]\npartition = 3\n")
    message = refused(path=path)
    assert str(path) in message
    assert "kafka.partition is unknown, the nearest known one is kafka.partitions" in message
    assert "namespace" in refused(path=toml(tmp_path, 'namespaces = "x"\n'))
    assert "redis.url" in refused(path=toml(tmp_path, '[rediss]\nurl = "x"\n'))


def test_an_unknown_override_is_refused():
    assert "the nearest known one is http.port" in refused(http__ports=1)


def test_a_section_that_is_no_table_is_refused(tmp_path: Path):
    assert "write [kafka]" in refused(path=toml(tmp_path, 'kafka = "x"\n'))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    assert "nowhere.toml" in refused(path=tmp_path / "nowhere.toml")
    assert "no valid TOML" in refused(path=toml(tmp_path, "namespace = \n"))
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b'namespace = "\xff"\n')
    assert "no valid TOML" in refused(path=latin)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"STREAMER_KAFKA__PARTITIONS": "four"}, "kafka.partitions is 'four' (text), expected an integer"),
        ({"STREAMER_KAFKA__PARTITIONS": ""}, "expected an integer"),
        ({"STREAMER_KAFKA__PARTITIONS": "1.5"}, "expected an integer"),
        ({"STREAMER_HEAD__LEARNING_RATE": "fast"}, "expected a number"),
        ({"STREAMER_LOG__KIND": "sqlite"}, "expected one of kafka, embedded"),
        ({"STREAMER_KAFKA__SSL_CHECK_HOSTNAME": "maybe"}, "expected true or false"),
    ],
)
def test_a_wrong_type_names_variable_key_value_and_what_was_expected(environ: dict[str, str], said: str):
    message = refused(environ)
    assert next(iter(environ)) in message
    assert said in message


def test_the_file_is_read_strictly(tmp_path: Path):
    assert "kafka.partitions is '4' (text), expected an integer" in refused(path=toml(tmp_path, '[kafka]\npartitions = "4"\n'))
    assert "expected text" in refused(path=toml(tmp_path, "namespace = 3\n"))
    assert "expected an integer" in refused(path=toml(tmp_path, "[kafka]\npartitions = true\n"))
    assert "(a table)" in refused(path=toml(tmp_path, "[kafka.partitions]\nx = 1\n"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STREAMER_KAFKA__PARTITIONS", "0"),
        ("STREAMER_KAFKA__PARTITIONS", "-1"),
        ("STREAMER_KAFKA__REPLICATION_FACTOR", "0"),
        ("STREAMER_KAFKA__REPLICATION_FACTOR", "-2"),
        ("STREAMER_SNAPSHOTS__INTERVAL_MS", "0"),
        ("STREAMER_HTTP__PORT", "65536"),
        ("STREAMER_HTTP__PORT", "-1"),
        ("STREAMER_SEED", "-1"),
        ("STREAMER_HEAD__LEARNING_RATE", "0"),
        ("STREAMER_HEAD__LEARNING_RATE", "nan"),
        ("STREAMER_HEAD__LEARNING_RATE", "inf"),
        ("STREAMER_SIGNALS__WEIGHT_VIEW", "-0.5"),
    ],
)
def test_a_number_out_of_its_range_is_refused(name: str, value: str):
    message = refused({name: value})
    assert name in message
    assert "expected" in message


@pytest.mark.parametrize("namespace", ["", "a b", "{a}", "ä", "x" * 101, "a/b", "a\n"])
def test_a_namespace_has_only_safe_characters(namespace: str):
    assert "letters, digits" in refused({"STREAMER_NAMESPACE": namespace})


def test_every_default_is_within_what_its_own_key_accepts():
    defaults = {key.name: key.default for key in all_keys().values() if key.default is not None}
    assert load(None, {}, defaults) == Config()


def test_every_key_can_be_set_from_the_environment_to_its_default():
    environ = {key.environment: "" if key.default is None else str(key.default) for key in all_keys().values()}
    assert load(None, environ) == Config()


def test_secrets_are_shown_nowhere(tmp_path: Path):
    environ = {"STREAMER_KAFKA__SASL_PASSWORD": "hush", "STREAMER_REDIS__URL": "redis://me:hush@cache:6379/0?x=1"}
    config = load(None, environ)
    assert config.kafka.sasl_password == "hush"
    assert config.redis.url == "redis://me:hush@cache:6379/0?x=1"
    shown = f"{config} {config!r} {config.kafka} {public_dict(config)}"
    assert "hush" not in shown
    assert public_dict(config)["redis"]["url"] == "redis://me:***@cache:6379/0?x=1"
    assert public_dict(config)["kafka"]["sasl_password"] == "***"
    assert "hush" not in refused(path=toml(tmp_path, '[kafka]\nsasl_password = ["hush"]\n'))
    assert "hush" not in refused(kafka__sasl_password=3, kafka__sasl_password_file="/hush")


@pytest.mark.parametrize("key", ["two words", " padded", "schlüssel", "line\nline"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_shown(key: str):
    assert key.strip() not in (message := refused(gateway__api_key=key))
    assert "gateway.api_key cannot stand in a header" in message


def test_an_empty_key_of_the_gateway_is_not_a_key_that_nobody_need_give(tmp_path: Path):
    assert "gateway.api_key" in refused(path=toml(tmp_path, '[gateway]\napi_key = ""\n'))
    (tmp_path / "key").write_text("\n")
    assert "is empty" in refused(gateway__api_key_file=str(tmp_path / "key"))


@pytest.mark.parametrize(
    "origins", ["shop.example", "null", "https://shop.example/path", "https://a.example https://b.example"]
)
def test_what_is_no_origin_is_refused(origins: str):
    assert "gateway.cors_origins names" in refused(gateway__cors_origins=origins)


@pytest.mark.parametrize("origins", ["", "*", "https://a.example, http://localhost:8000/"])
def test_origins_are_taken_as_browsers_name_them(origins: str):
    assert load(None, {}, {"gateway.cors_origins": origins}).gateway.cors_origins == origins


def test_the_public_dict_has_every_key():
    plain = public_dict(Config())
    assert plain["namespace"] == "default"
    assert plain["kafka"]["partitions"] == 4
    assert plain["kafka"]["sasl_password"] is None
    assert sum(len(part) if isinstance(part, dict) else 1 for part in plain.values()) == len(all_keys())


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:p@h", "redis://:***@h"),
        ("redis://u:p@w@h", "redis://u:***@h"),
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("unix:///run/redis.sock?password=p&db=1", "unix:///run/redis.sock?password=***&db=1"),
    ],
)
def test_a_password_in_a_url_is_masked(url: str, shown: str):
    assert masked("url", url) == shown


def test_a_password_file_is_read_when_the_configuration_is_loaded(tmp_path: Path):
    path = tmp_path / "password"
    path.write_text("hush \n", encoding="utf-8")
    config = load(None, {"STREAMER_KAFKA__SASL_PASSWORD_FILE": str(path)})
    assert config.kafka.sasl_password == "hush "
    both = {"STREAMER_KAFKA__SASL_PASSWORD_FILE": str(path), "STREAMER_KAFKA__SASL_PASSWORD": "x"}
    assert "keep one" in refused(both)


def test_a_password_file_that_is_missing_or_empty_is_named(tmp_path: Path):
    assert "gone" in refused({"STREAMER_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "gone")})
    (tmp_path / "empty").write_text("\n", encoding="utf-8")
    assert "is empty" in refused({"STREAMER_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "empty")})
    (tmp_path / "binary").write_bytes(b"\xff")
    assert "no UTF-8" in refused({"STREAMER_KAFKA__SASL_PASSWORD_FILE": str(tmp_path / "binary")})
