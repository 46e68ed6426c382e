"""`load_sample` and `import_profiles`."""

from __future__ import annotations

import gzip
import io
import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from profiles import sample
from profiles.ingest import MAX_BYTES
from profiles.management.commands import import_profiles
from profiles.models import Identity, Profile, Segment, SegmentMembership
from profiles.selectors import display_name, status_counts

pytestmark = pytest.mark.django_db


def run(*arguments: str, **options: Any) -> str:
    if "import_profiles" in arguments:
        options.setdefault("processes", 1)  # others do not see what the test's transaction has written
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=out, **options)
    return out.getvalue()


def entity(number: int, **more: Any) -> dict[str, Any]:
    return {
        "person": {"name": {"firstName": f"이름{number}"}},
        "identityMap": {
            "Email": [{"id": f"{number}@example.com", "primary": True}],
            "ecid": [{"id": f"{number:038d}"}],
        },
        "segmentMembership": {
            "ups": {"s/1": {"status": "realized", "lastQualificationTime": "2026-11-20T00:00:00Z"}}
        },
        **more,
    }


def ndjson(*entities: Any) -> bytes:
    return b"".join(json.dumps(entity, ensure_ascii=False).encode() + b"\n" for entity in entities)


def rejects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- load_sample


def test_the_sample_loads_and_a_second_run_changes_nothing() -> None:
    assert "300 profiles created, 0 updated, 0 unchanged; 8 segments" in run("load_sample", profiles=300)
    before = list(Profile.objects.order_by("pk").values())
    assert "0 profiles created, 0 updated, 300 unchanged; 0 segments" in run("load_sample", profiles=300)
    assert list(Profile.objects.order_by("pk").values()) == before
    assert "20 profiles created, 0 updated, 300 unchanged" in run("load_sample", profiles=320)


def test_the_sample_has_what_the_walk_through_needs() -> None:
    run("load_sample", profiles=400)
    assert sample.SEGMENTS[0].name == "High propensity to convert"
    assert Segment.objects.count() == 8
    counts = [status_counts(segment) for segment in Segment.objects.all()]
    assert all(count["realized"] + count["existing"] > 10 for count in counts)
    assert any(count["exited"] > 0.1 * sum(count.values()) for count in counts)
    ecids = Identity.objects.filter(namespace__code="ECID")
    assert ecids.count() > ecids.values("profile").distinct().count()
    assert {len(value) for value in ecids.values_list("value", flat=True)} == {38}
    names = "".join(display_name(profile.attributes) for profile in Profile.objects.all())
    for script in ("가-힣", "ぁ-ん", "а-я", "a-z", "ء-ي"):
        first, last = script.split("-")
        assert any(first <= char <= last for char in names), script
    addresses = Identity.objects.filter(namespace__code="Email").values_list("value", flat=True)
    assert {address.partition("@")[2] for address in addresses} == {"example.com", "example.org"}


# --- import_profiles


def test_profiles_are_imported_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.write_bytes(ndjson(entity(1), entity(2)))
    assert "2 created, 0 updated, 0 unchanged, 0 rejected." in run("import_profiles", str(file))
    profile = Identity.objects.get(value="1@example.com").profile
    assert profile.attributes == {"person": {"name": {"firstName": "이름1"}}}
    assert profile.identities.count() == 2
    assert SegmentMembership.objects.get(profile=profile).segment_id == "s/1"
    before = list(Profile.objects.order_by("pk").values())
    assert "0 created, 0 updated, 2 unchanged, 0 rejected." in run("import_profiles", str(file))
    assert list(Profile.objects.order_by("pk").values()) == before
    assert not (tmp_path / "people.ndjson.rejected").exists()


def test_links_that_were_refused_are_counted(tmp_path: Path, settings: Any) -> None:
    settings.IDENTITY_GRAPH_LIMIT = 1
    file = tmp_path / "people.ndjson"
    file.write_bytes(ndjson(entity(1), entity(2)))
    out = run("import_profiles", str(file))
    assert "2 created, 0 updated, 0 unchanged, 0 rejected. Of 2 the identities were not linked" in out


def test_fields_that_the_schema_does_not_know_go_in(tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.write_bytes(ndjson(entity(1, _ours={"shoeSize": 43})))
    run("import_profiles", str(file))
    assert Profile.objects.get().attributes["_ours"] == {"shoeSize": 43}


def test_gzip_is_known_by_its_first_bytes(tmp_path: Path) -> None:
    file = tmp_path / "people"
    file.write_bytes(gzip.compress(ndjson(entity(1))))
    assert "1 created" in run("import_profiles", str(file))


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_standard_input_is_read(pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(pack(ndjson(entity(1), [])))))
    assert "1 created, 0 updated, 0 unchanged, 1 rejected." in run("import_profiles", "-")
    assert rejects(tmp_path / "import.rejected")[0]["line"] == 2


BAD = {
    b"{": "not JSON",
    b'{"a": NaN}': "NaN",
    b'{"a": {"b": 1, "b": 1}}': "stands twice",
    b'"\xff"': "not UTF-8",
    b"[1]": "not a JSON object",
    b"[" * 100_000: "nested too deep",
    b'{"a": ' + b"9" * 5000 + b"}": "too many digits",
    b'{"a": 1e400, "identityMap": {"Email": [{"id": "x"}]}}': "too large a number",
    b'{"a": "\\u0000", "identityMap": {"Email": [{"id": "x"}]}}': "NUL",
    b'{"a": 1}': "no identity",
    b'{"identityMap": []}': "object of namespaces",
    b'{"identityMap": {"Email": {}}}': "no list",
    b'{"identityMap": {"Email": [{"id": 5}]}}': "not a text",
    b'{"identityMap": {"Fax": [{"id": "5"}]}}': "Fax",
    b'{"identityMap": {"Email": [{"id": "x"}]}, "segmentMembership": 1}': "ups",
    b'{"identityMap": {"Email": [{"id": "x"}]}, "segmentMembership": {"ups": {"s": {}}}}': "no status",
    b'{"identityMap": {"Email": [{"id": "x"}]}, "segmentMembership": {"ups": {"s": {"status": "realized",'
    b' "lastQualificationTime": "noon"}}}}': "RFC 3339",
    b'{"identityMap": {"Email": [{"id": "x"}]}, "segmentMembership": {"ups": {"s": {"status": "realized",'
    b' "lastQualificationTime": "2026-11-20T00:00:00"}}}}': "offset",
}  # fmt: skip


def test_bad_lines_are_told_and_the_rest_goes_in(tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.write_bytes(
        b"\xef\xbb\xbf" + ndjson(entity(1)) + b"\r\n" + b"\n".join(BAD) + b"\n" + ndjson(entity(2))
    )
    assert f"2 created, 0 updated, 0 unchanged, {len(BAD)} rejected." in run("import_profiles", str(file))
    rejected = tmp_path / "people.ndjson.rejected"
    told = sorted(rejects(rejected), key=lambda reject: reject["line"])
    assert [reject["line"] for reject in told] == list(range(3, 3 + len(BAD)))
    for reject, (line, words) in zip(told, BAD.items(), strict=True):
        assert words in reject["reason"], reject
        assert reject["text"] == line.decode(errors="backslashreplace")
    assert stat.S_IMODE(rejected.stat().st_mode) == 0o600


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.write_bytes(
        ndjson(entity(1)) + b"x" * (5 * MAX_BYTES) + b"\n" + ndjson(entity(2)) + b"y" * (5 * MAX_BYTES)
    )
    assert "2 created, 0 updated, 0 unchanged, 2 rejected." in run("import_profiles", str(file))
    told = rejects(tmp_path / "people.ndjson.rejected")
    assert [reject["line"] for reject in told] == [2, 4]
    assert all(len(reject["text"]) == import_profiles.KEPT_OF_LONG_LINE for reject in told)


@pytest.mark.parametrize("over", [0, 1])
def test_the_longest_line_goes_in(over: int, tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    line = ndjson(entity(1))
    padded = line[:-2] + b" " * (import_profiles.MAX_LINE - len(line) + over) + b"}\n"
    file.write_bytes(padded + ndjson(entity(2)))
    assert f"{2 - over} created, 0 updated, 0 unchanged, {over} rejected." in run(
        "import_profiles", str(file)
    )


def test_more_than_a_batch_goes_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_profiles, "BATCH", 3)
    file = tmp_path / "people.ndjson"
    file.write_bytes(ndjson(*(entity(number) for number in range(8))))
    assert "8 created" in run("import_profiles", str(file))
    assert Profile.objects.count() == 8


def test_it_fails_when_nothing_went_in(tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.write_bytes(b"x\n")
    with pytest.raises(CommandError, match="Every line was rejected"):
        run("import_profiles", str(file))
    with pytest.raises(CommandError, match="No such file"):
        run("import_profiles", str(tmp_path / "absent"))


def test_an_empty_file_is_fine(tmp_path: Path) -> None:
    file = tmp_path / "people.ndjson"
    file.touch()
    assert "0 created" in run("import_profiles", str(file))


def test_what_came_before_a_broken_end_is_in(tmp_path: Path) -> None:
    file = tmp_path / "people.gz"
    packed = gzip.compress(ndjson(*(entity(number) for number in range(4000))))
    file.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(CommandError, match="to its end"):
        run("import_profiles", str(file))
    assert 0 < Profile.objects.count() < 4000
