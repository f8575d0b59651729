"""Manifests: names, the file's envelope, damage, the structural check."""

from __future__ import annotations

import doctest

import msgspec
import pytest

import streamer.snapshots.manifest as manifest_module
import streamer.snapshots.recovery as recovery_module
from streamer.ports import TopicPartition
from streamer.snapshots import (
    FORMAT,
    FolderStore,
    Manifest,
    SnapshotDamaged,
    StructureDiffers,
    TableEntry,
    chunk_names,
    offsets_of,
    positions_of,
    read_manifest,
    require_same_structure,
    snapshot_name,
    versions,
)
from streamer.snapshots.manifest import decode_manifest, encode_manifest, manifest_file, manifest_names

NAME = "1795485458344-9f3c02aa"
TABLE = TableEntry(name="t", kind="fold", dtype="<i8", shape=(2, 3), sha256="0" * 64, chunks=("a" * 64,))
MANIFEST = Manifest(
    name=NAME,
    epoch=1795485000000,
    created_ms=1795485458344,
    parent=None,
    topic_ids={"events": "id-1"},
    offsets={"events": {"0": 5, "1": 7}},
    structural={"head.kind": "bilinear", "signals.neighbours_max": 256},
    encoder_fingerprint=None,
    versions={"python": "3.11.9"},
    head_step=3,
    event_ms=1795485400000,
    position=12,
    counters={"applied": {"click": 12}, "duplicate": 0},
    order=(("events", 0, 5), ("events", 1, 7)),
    chunk_bytes=1024,
    tables=(TABLE,),
)
GOLDEN_4 = (
    b'{"format":4,"sha256":"eb72ab8b27979e2988d5535cb1e4a71ef92106557ef3dcb4a5e86ce44e7bc80d","manifest":'
    b'{"name":"1795485458344-9f3c02aa","epoch":1795485000000,"created_ms":1795485458344,"parent":null,'
    b'"topic_ids":{"events":"id-1"},"offsets":{"events":{"0":5,"1":7}},'
    b'"structural":{"head.kind":"bilinear","signals.neighbours_max":256},"encoder_fingerprint":null,'
    b'"versions":{"python":"3.11.9"},"head_step":3,"event_ms":1795485400000,"position":12,'
    b'"counters":{"applied":{"click":12},"duplicate":0},"order":[["events",0,5],["events",1,7]],"chunk_bytes":1024,'
    b'"format":4,"left_out":[],"generation":0,"tables":[{"name":"t","kind":"fold","dtype":"<i8","shape":[2,3],'
    b'"sha256":"0000000000000000000000000000000000000000000000000000000000000000",'
    b'"chunks":["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]}]}}'
)
SHA256 = {
    4: b"eb72ab8b27979e2988d5535cb1e4a71ef92106557ef3dcb4a5e86ce44e7bc80d",
    5: b"db14248cfa618abfca1a23b8bf246b1598e265bedf8065f4aa2e58e89f51d2f3",
    6: b"14770ab54793cf5b30d1fc3ec1c38cfd314c814547bca5c473dd1f3b90fa0fcb",
}


def golden(number):
    """The file as it must be read, and as the present format is written."""
    return GOLDEN_4.replace(b'"format":4', f'"format":{number}'.encode()).replace(SHA256[4], SHA256[number])


def test_the_examples_in_the_documentation_hold():
    for module in (manifest_module, recovery_module):
        results = doctest.testmod(module)
        assert results.attempted > 0
        assert results.failed == 0


def test_a_manifest_is_decoded_as_it_was_encoded():
    assert decode_manifest(encode_manifest(MANIFEST), "f") == MANIFEST


def test_the_file_of_the_present_format_is_still_read_and_still_written_alike():
    assert decode_manifest(golden(FORMAT), "f") == MANIFEST
    assert encode_manifest(MANIFEST) == golden(FORMAT)


@pytest.mark.parametrize("number", [4, 5])
def test_a_file_of_a_format_before_is_still_read(number):
    assert decode_manifest(golden(number), "f") == msgspec.structs.replace(MANIFEST, format=number)


def test_a_flipped_digit_is_found():
    data = encode_manifest(MANIFEST).replace(b'"position":12', b'"position":13')
    with pytest.raises(SnapshotDamaged, match=r"manifests/x\.json: expected a manifest with sha256 .* found sha256") as caught:
        decode_manifest(data, "manifests/x.json")
    assert caught.value.file == "manifests/x.json"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", encode_manifest(MANIFEST)[:-20], b'{"format":"1"}'])
def test_a_cut_or_foreign_file_is_damage_not_a_crash(data):
    with pytest.raises(SnapshotDamaged):
        decode_manifest(data, "f")


def test_a_newer_format_is_refused_by_its_number_whatever_it_holds():
    with pytest.raises(SnapshotDamaged, match="expected format 4 or 5 or 6, found format 7, which another release"):
        decode_manifest(b'{"format":7,"anything":[1]}', "f")


def test_a_manifest_that_names_a_chunk_outside_the_store_is_refused():
    entry = msgspec.structs.replace(TABLE, chunks=("../../etc/passwd",))
    with pytest.raises(SnapshotDamaged, match="64 hexadecimal digits"):
        decode_manifest(encode_manifest(msgspec.structs.replace(MANIFEST, tables=(entry,))), "f")


def test_a_manifest_under_the_name_of_another_is_refused(tmp_path):
    store = FolderStore(tmp_path)
    store.put(manifest_file("1795485458345-00000000"), encode_manifest(MANIFEST))
    with pytest.raises(SnapshotDamaged, match=f"found that of {NAME}"):
        read_manifest(store, "1795485458345-00000000")
    with pytest.raises(SnapshotDamaged, match="there is no snapshot"):
        read_manifest(store, NAME)


def test_manifest_names_are_newest_first_and_ignore_other_files(tmp_path):
    store = FolderStore(tmp_path)
    for name in ["1795485458344-aaaa", "1795485458345-aaaa", "1795485458344-bbbb", "notes", "1795485458344-aaaa.json"]:
        store.put(manifest_file(name), b"")
    assert manifest_names(store) == ["1795485458345-aaaa", "1795485458344-bbbb", "1795485458344-aaaa"]


@pytest.mark.parametrize(("created_ms", "suffix"), [(10**13, "aaaa"), (-1, "aaaa"), (1, "AAAA"), (1, "a"), (1, "aa/aa")])
def test_a_name_that_would_not_sort_by_time_or_leaves_its_folder_is_refused(created_ms, suffix):
    with pytest.raises(ValueError, match="expected 13 digits"):
        snapshot_name(created_ms, suffix)


def test_positions_travel_through_offsets_and_back():
    positions = {TopicPartition("events", 10): 4, TopicPartition("events", 2): 3, TopicPartition("items", 0): 0}
    assert list(offsets_of(positions)["events"]) == ["2", "10"]
    manifest = msgspec.structs.replace(MANIFEST, offsets=offsets_of(positions))
    assert positions_of(manifest) == positions


def test_chunk_names_are_those_of_all_tables():
    other = msgspec.structs.replace(TABLE, name="u", kind="publisher", chunks=("b" * 64, "a" * 64))
    assert chunk_names(msgspec.structs.replace(MANIFEST, tables=(TABLE, other))) == {"a" * 64, "b" * 64}


def test_the_same_structure_is_accepted_whatever_python_types_hold_it():
    saved = decode_manifest(encode_manifest(msgspec.structs.replace(MANIFEST, structural={"a": (1, 2), "b": None})), "f")
    require_same_structure(saved, {"b": None, "a": (1, 2)})


def test_another_structure_is_refused_by_key_with_both_values_and_what_to_do():
    with pytest.raises(
        StructureDiffers, match=r"signals.neighbours_max = 256, the configuration says 128; .* set it back to 256"
    ):
        require_same_structure(MANIFEST, {"head.kind": "bilinear", "signals.neighbours_max": 128})
    with pytest.raises(StructureDiffers, match=r"head\.kind"):
        require_same_structure(MANIFEST, {"signals.neighbours_max": 256})


def test_versions_name_what_equal_results_depend_on():
    assert set(versions()) == {"python", "numpy", "numba", "scipy", "blas", "streamer", "machine"}
    assert all(versions().values())
