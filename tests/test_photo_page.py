"""The page of the photo search: a plain form, the answers to its script, and what it refuses."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from queue import Queue
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpResponse
from django.template import Context, Template, TemplateSyntaxError
from django.test import Client
from django.test.client import BOUNDARY, MULTIPART_CONTENT, encode_multipart
from django.test.utils import CaptureQueriesContext
from django.urls import path
from pytest_django import Settings

import cardigan_reco
from cardigan_reco import estimates, photos, search, views
from cardigan_reco.exceptions import Busy, EncoderError, MissingExtra
from cardigan_reco.photo_form import Choices, Sample
from cardigan_reco.views import PhotoSearchView
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, encode_all, jpeg
from tests.pictures import encoded, halves, png
from tests.testapp.catalogue.models import Product

ROOT = Path(cardigan_reco.__file__).parent
SCRIPT = {"X-Cardigan-Photo": "results"}
LEFT, RIGHT = "0,0,0.45,1", "0.55,0,1,1"


class ShopPage(PhotoSearchView):
    filters = {"shelf": "shelf", "lowest": "shelf__gte"}

    def filter_choices(self) -> list[Choices]:
        return [
            Choices("shelf", "Shelf", [(1, "First"), (2, "Second"), (3000, "Far")]),
            Choices("lowest", "Lowest <shelf>", kind="number"),
        ]

    def samples(self) -> list[Sample]:
        picture = encoded(halves(), "PNG")
        return [
            Sample("left", "/l.png", "<b>Left</b>", lambda: picture, 64, 48, (0, 0, 0.45, 1)),
            Sample("all", "/a.png", "All of it", lambda: picture, 1600, 1200),
        ]


class ThrottledPage(PhotoSearchView):
    def seconds_to_wait(self) -> int | None:
        return 7


urlpatterns = [
    path("photo/", ShopPage.as_view(), name="photo-search"),
    path("pairs/", ShopPage.as_view(limit=2)),
    path("green/", PhotoSearchView.as_view(queryset=Product.objects.filter(title="green"))),
    path("strict/", PhotoSearchView.as_view(min_similarity=1.0)),
    path("throttled/", ThrottledPage.as_view()),
]
pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@pytest.fixture(autouse=True)
def shop(add_product: AddProduct) -> None:
    add_product("red", RED, shelf=1)
    add_product("orange", ORANGE, shelf=1)
    add_product("green", GREEN, shelf=2)
    add_product("blue", BLUE, shelf=2)
    encode_all()


def post(
    client: Client, photo: bytes | None = None, address: str = "/photo/", **form: Any
) -> HttpResponse:
    """Sends the form as the script does."""
    return client.post(address, {**_file(photo), **form}, headers=SCRIPT)


def submit(
    client: Client, photo: bytes | None = None, address: str = "/photo/", **form: Any
) -> HttpResponse:
    """Sends the form as a browser without the script does."""
    return client.post(address, {**_file(photo), **form})


def _file(photo: bytes | None) -> dict[str, SimpleUploadedFile]:
    name = "<script>me at home</script>.jpg"
    return {} if photo is None else {"image": SimpleUploadedFile(name, photo, "image/jpeg")}


def names(answer: HttpResponse) -> list[str]:
    assert answer.status_code == 200
    return re.findall(r'class="cardigan-photo-name">(.*?)</span>', answer.content.decode())


def message(answer: HttpResponse) -> str:
    found = re.search(r'data-message="(.*?)"', answer.content.decode())
    assert found
    return found[1]


def test_the_page_has_a_form_and_says_what_becomes_of_the_photo(client: Client) -> None:
    answer = client.get("/photo/")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert 'method="post" action="/photo/" enctype="multipart/form-data"' in page
    assert "The shop never stores it." in page
    assert page.count('accept="image/jpeg,image/png,image/webp"') == 2
    assert page.count('capture="environment"') == 1
    assert names(answer) == []


def test_the_page_needs_nothing_inline(client: Client) -> None:
    """So a Content-Security-Policy may forbid it."""
    page = client.get("/photo/?sample=left").content.decode()
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", page) == []
    assert re.findall(r"<script(?![^>]*\ssrc=)", page) == []


@pytest.mark.parametrize("send", [post, submit])
def test_a_photo_finds_what_looks_like_it(
    client: Client, send: Callable[..., HttpResponse]
) -> None:
    answer = send(client, jpeg(RED))
    assert names(answer) == ["red", "orange", "green", "blue"]
    assert message(answer) == "4 results that look like it, the most similar first."
    red = Product.objects.get(title="red")
    assert f'href="/products/{red.pk}/"' in answer.content.decode()
    assert f'src="/media/{red.images.get().original.name}"' in answer.content.decode()


def test_the_script_gets_the_results_alone(client: Client) -> None:
    assert "<form" not in post(client, jpeg()).content.decode()
    assert "<form" in submit(client, jpeg()).content.decode()


def test_nothing_is_kept(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    answers = [
        client.get("/photo/"),
        client.get("/photo/?sample=all"),
        *(send(client, photo) for send in (post, submit) for photo in (jpeg(), b"no picture")),
    ]
    for answer in answers:
        assert answer.headers["Cache-Control"] == "no-store, private"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "me at home" not in answer.content.decode()
    assert "me at home" not in caplog.text


def test_a_crop_changes_the_answer(client: Client) -> None:
    photo = encoded(halves(), "PNG")
    assert names(post(client, photo, crop=LEFT))[0] == "red"
    assert names(post(client, photo, crop=RIGHT))[0] == "blue"


def test_filters(client: Client) -> None:
    assert names(post(client, jpeg(RED), shelf="2")) == ["green", "blue"]
    assert names(post(client, jpeg(RED), shelf=["1", "2"], lowest="2")) == ["green", "blue"]
    assert names(post(client, jpeg(RED), shelf="", lowest="")) == ["red", "orange", "green", "blue"]
    page = submit(client, jpeg(RED), shelf="2", lowest="1").content.decode()
    assert '<option value="2" selected>Second</option>' in page
    assert 'name="lowest" value="1"' in page


def test_what_is_not_for_sale_is_never_shown(client: Client) -> None:
    Product.objects.filter(title="red").update(is_public=False)
    assert names(post(client, jpeg(RED))) == ["orange", "green", "blue"]
    assert names(post(client, jpeg(RED), "/green/")) == ["green"]


def test_nothing_like_it(client: Client) -> None:
    answer = post(client, jpeg((128, 128, 128)), "/strict/")
    assert names(answer) == []
    assert message(answer) == "Nothing like it was found."
    assert "taking a filter away" in answer.content.decode()


def test_numbers_are_grouped_for_people_alone(client: Client, settings: Settings) -> None:
    settings.USE_THOUSAND_SEPARATOR = True
    page = submit(client, jpeg(RED), shelf="3000").content.decode()
    assert 'data-bytes="10485760"' in page
    assert 'width="1600" height="1200"' in page
    assert '<option value="3000" selected>Far</option>' in page


def test_more_of_it(client: Client) -> None:
    first = post(client, jpeg(RED), "/pairs/")
    second = post(client, jpeg(RED), "/pairs/", page="2")
    assert names(first) == ["red", "orange"]
    assert names(second) == ["green", "blue"]
    assert 'data-next="2"' in first.content.decode()
    assert "data-next" not in second.content.decode()
    assert message(second) == "4 results that look like it, the most similar first."
    # Its page no longer has the photo, which another page of results needs.
    assert "data-next" not in submit(client, jpeg(RED), "/pairs/").content.decode()


def test_samples_without_the_script(client: Client) -> None:
    page = client.get("/photo/")
    assert 'href="?sample=left"' in page.content.decode()
    assert "&lt;b&gt;Left&lt;/b&gt;" in page.content.decode()
    assert 'width="0.4500"' in page.content.decode()

    assert names(client.get("/photo/?sample=left"))[0] == "red"
    assert names(client.get("/photo/?sample=left&shelf=2&utm_source=mail")) == ["green", "blue"]
    answer = client.get("/pairs/?sample=left&lowest=1&utm_source=mail")
    assert 'href="?lowest=1&amp;sample=left&amp;page=2"' in answer.content.decode()
    second = client.get("/pairs/?lowest=1&page=2&sample=left")
    assert len(set(names(answer) + names(second))) == 4
    assert message(second) == "Results 3 to 4, the most similar first."


@pytest.mark.parametrize("address", ["/photo/?sample=none", "/photo/?shelf=x&page=x&a__b=c"])
def test_addresses_that_mean_nothing_show_the_page(client: Client, address: str) -> None:
    answer = client.get(address)
    assert names(answer) == []
    assert 'data-state="start"' in answer.content.decode()


def test_a_sample_with_a_bad_filter(client: Client) -> None:
    answer = client.get("/photo/?sample=all&lowest=x")
    assert answer.status_code == 400
    assert "can’t be “x”" in message(answer)


REFUSED = {
    "no photo": (None, {}, 400, "Please choose a photo first."),
    "empty": (b"", {}, 400, "This photo can’t be used"),
    "html": (b"<html>", {}, 400, "This file isn’t a photo that can be read here"),
    "heic": (b"\0\0\0\x18ftypheic" + bytes(99), {}, 400, "This file isn’t a photo"),
    "gif": (b"GIF89a" + bytes(99), {}, 400, "This file isn’t a photo"),
    "truncated": (jpeg()[:300], {}, 400, "This photo can’t be used"),
    "tiny": (jpeg(side=4), {}, 400, "This photo can’t be used"),
    "long": (png((8, 400), depth=8, colour=0), {}, 400, "The photo is too large, or much longer"),
    "large": (jpeg() + bytes(20_000), {}, 413, "The file is larger than 14.6\xa0KB."),
    "announced": (jpeg() + bytes(100_000), {}, 413, "The file is larger than 14.6\xa0KB."),
    "small part": (jpeg(), {"crop": "0,0,0.01,1"}, 400, "the chosen part is too small"),
    "bad crop": (jpeg(), {"crop": "0.5,0,0.2,1"}, 400, "The form couldn’t be understood"),
    "no crop": (jpeg(), {"crop": "nan,0,1,1"}, 400, "The form couldn’t be understood"),
    "short crop": (jpeg(), {"crop": "0,0,1"}, 400, "The form couldn’t be understood"),
    "page": (jpeg(), {"page": "-1"}, 400, "The form couldn’t be understood"),
    "far page": (jpeg(), {"page": "6"}, 400, "The form couldn’t be understood"),
    "page of letters": (jpeg(), {"page": "x" * 5000}, 400, "The form couldn’t be understood"),
    "unknown filter": (jpeg(), {"id__in": "1"}, 400, "The form couldn’t be understood"),
    "bad filter": (
        jpeg(),
        {"lowest": "<b>" + "x" * 90},
        400,
        f"The filter “Lowest &lt;shelf&gt;” can’t be “&lt;b&gt;{'x' * 46}…”.",
    ),
    "many values": (
        jpeg(),
        {"shelf": ["1"] * 21},
        400,
        "The filter “Shelf” has too many values.",
    ),
    "many fields": (jpeg(), {"shelf": ["1"] * 99}, 400, "The form couldn’t be understood"),
    "long field": (jpeg(), {"shelf": "1" * 70_000}, 400, "The form couldn’t be understood"),
    "no width": (jpeg(), {"crop": "0,0,1e-320,1"}, 400, "the chosen part is too small"),
}


@pytest.mark.parametrize("send", [post, submit])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_in_words(
    client: Client, settings: Settings, send: Callable[..., HttpResponse], name: str
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "MAX_IMAGE_BYTES": 15_000}
    photo, form, status, words = REFUSED[name]
    answer = send(client, photo, **form)
    assert answer.status_code == status
    assert words in message(answer)
    assert names_of_any(answer) == []
    assert ("<form" in answer.content.decode()) is (send is submit)


def names_of_any(answer: HttpResponse) -> list[str]:
    return re.findall("cardigan-photo-name", answer.content.decode())


def test_two_photos_and_a_broken_form(client: Client) -> None:
    two = [SimpleUploadedFile("a.jpg", jpeg()), SimpleUploadedFile("b.jpg", jpeg())]
    assert client.post("/photo/", {"image": two}).status_code == 400
    broken = client.post("/photo/", b"--x", content_type="multipart/form-data; boundary=\xff")
    assert broken.status_code == 400
    assert "<form" in broken.content.decode()


@pytest.mark.parametrize("charset", ["zlib", "unicode_escape", "utf-16", "x"])
def test_a_charset_that_a_form_names_counts_for_nothing(client: Client, charset: str) -> None:
    content_type = f"{MULTIPART_CONTENT}; charset={charset}"
    body = encode_multipart(BOUNDARY, {**_file(jpeg(RED)), "shelf": "1"})
    assert names(client.generic("POST", "/photo/", body, content_type)) == ["red", "orange"]
    body = encode_multipart(BOUNDARY, {**_file(jpeg(RED)), "shelf": r"\ud800"})
    answer = client.generic("POST", "/photo/", body, content_type)
    assert r"can’t be “\ud800”" in message(answer)


@pytest.mark.parametrize("seconds", ["1 second.", "2 seconds."])
def test_a_busy_shop_says_when_to_try_again(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, seconds: str
) -> None:
    failing(monkeypatch, Busy("Full.", retry_after_seconds=int(seconds[0])))
    answer = post(client, jpeg())
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == seconds[0]
    assert f"try again in {seconds}" in message(answer)
    assert "couldn't be searched by" not in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        EncoderError("Weights /secret are missing."),
        MissingExtra("Encoding /secret", "torch"),
        OperationalError("canceling statement of /secret"),
        InterfaceError("connection to /secret is closed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_shop_lacks_is_logged_and_not_told(
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    failing(monkeypatch, error)
    answer = post(client, jpeg())
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "out of order" in message(answer)
    assert "secret" not in answer.content.decode()
    (record,) = [record for record in caplog.records if record.name == "cardigan_reco.views"]
    assert f"{type(error).__name__}: {error}" in record.message
    assert record.exc_info is None  # Its frames hold the photo.


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(search, "by_image", fail)


def test_a_shop_may_throttle(client: Client) -> None:
    answer = post(client, jpeg(), "/throttled/")
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "7"
    assert "many photos in a short time. Please try again in 7 seconds" in message(answer)


@pytest.mark.parametrize("middleware", [[], ["django.middleware.csrf.CsrfViewMiddleware"]])
def test_forms_of_other_sites_are_refused(settings: Settings, middleware: list[str]) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, *middleware]
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "MAX_IMAGE_BYTES": 15_000}
    client = Client(enforce_csrf_checks=True)
    assert post(client, jpeg()).status_code == 403
    token = token_of(client.get("/photo/"))
    assert post(client, jpeg()).status_code == 403
    assert names(post(client, jpeg(), csrfmiddlewaretoken=token))
    # A form that couldn't be read comes back with a token that works.
    for size in (20_000, 100_000):
        large = submit(client, jpeg() + bytes(size), csrfmiddlewaretoken=token)
        assert large.status_code == 413
        assert names(submit(client, jpeg(), csrfmiddlewaretoken=token_of(large)))


def token_of(answer: HttpResponse) -> str:
    token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', answer.content.decode())
    assert token
    return token[1]


class Connection(BytesIO):
    """A visitor's body; perhaps the visitor has gone."""

    is_gone = False

    def read(self, size: int | None = -1, /) -> bytes:
        if self.is_gone:
            raise OSError("Connection reset by peer")
        return super().read(size)


def send_raw(body: Connection, length: int) -> HttpResponse:
    """Posts with the cookie that the page has set, for which Django looks into the form."""
    client = Client(enforce_csrf_checks=True)
    client.get("/photo/")
    environ = {"CONTENT_TYPE": MULTIPART_CONTENT, "CONTENT_LENGTH": str(length)}
    return client.generic("POST", "/photo/", **environ, **{"wsgi.input": body})


def test_what_is_announced_as_too_large_is_not_read() -> None:
    body = Connection(encode_multipart(BOUNDARY, {"image": "x"}))
    assert send_raw(body, 99_999_999).status_code == 413
    assert body.tell() == 0


def test_an_upload_that_breaks_off_is_no_fault_of_the_shop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = Connection()
    body.is_gone = True
    answer = send_raw(body, 1_000)
    assert answer.status_code == 400
    assert "The form couldn’t be understood" in message(answer)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_names_are_escaped(client: Client) -> None:
    Product.objects.filter(title="red").update(title="<script>alert(1)</script>")
    answer = submit(client, jpeg(RED))
    assert names(answer)[0] == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert "<script>" not in answer.content.decode()


@pytest.mark.django_db(transaction=True)
def test_the_number_of_queries_is_constant(client: Client, add_product: AddProduct) -> None:
    def queries() -> list[int]:
        counts = []
        for send in (post, submit):
            estimates.forget()
            with CaptureQueriesContext(connection) as captured:
                assert send(client, jpeg()).status_code == 200
            counts.append(len(captured))
        return counts

    few = queries()
    for number in range(12):
        add_product(f"mug {number}", RED, BLUE)
    encode_all()
    assert queries() == few == [2, 2]


def test_the_first_visit_loads_the_network(
    client: Client,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    warmed = Queue[str]()

    def warm_up(encoder: str) -> None:
        warmed.put(encoder)
        raise EncoderError("no weights")

    monkeypatch.setattr(photos, "warm_up", warm_up)
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH": {"ENCODE_IN": "worker"}}
    views._make_ready.cache_clear()
    client.get("/photo/")
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "SEARCH": {}}
    views._make_ready.cache_clear()
    client.get("/photo/")
    client.get("/photo/")
    assert warmed.get(timeout=60) == "default"
    for thread in enumerate_threads():
        if thread.daemon and thread.name.endswith("(_warm_up)"):
            thread.join()
    assert warmed.empty()
    assert "The encoder 'default' can't be loaded" in caplog.text


def test_the_page_needs_neither_torch_nor_rest_framework() -> None:
    code = (
        "import sys, django; django.setup(); import cardigan_reco.views\n"
        "print({'torch', 'rest_framework', 'celery'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=False
    )
    assert done.stdout == "set()\n", done.stderr


def render(text: str, **context: object) -> str:
    return Template("{% load cardigan_reco %}" + text).render(Context(context))


def test_a_box_for_any_page() -> None:
    html = render("{% photo_search %}", csrf_token="abc")
    assert 'method="post" action="/photo/" enctype="multipart/form-data"' in html
    assert 'name="csrfmiddlewaretoken" value="abc"' in html
    assert 'data-bytes="10485760"' in html
    assert 'action="/elsewhere/?a=1&amp;b=2"' in render(
        "{% photo_search action=address %}", address="/elsewhere/?a=1&b=2"
    )


@pytest.mark.urls("tests.urls")
def test_a_box_needs_its_page() -> None:
    wrong = "give urls.py a path named 'photo-search' to a PhotoSearchView, or the tag its address"
    with pytest.raises(TemplateSyntaxError, match=wrong):
        render("{% photo_search %}")
