"""The admin's pages: what they show, to whom, with how many queries, and what they change."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django import Settings

from cardigan_reco import queue, recommendations
from cardigan_reco.models import EncoderVersion, EncodingRequest
from tests import translations
from tests.conftest import BLUE, GREEN, ORANGE, RED, AddProduct, add_image, encode_all, jpeg
from tests.testapp.catalogue.models import Product, ProductImage
from tests.testapp.models import Poster, PosterEmbedding, ProductImageEmbedding

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("silent_doorbell")]

QUEUE = reverse("admin:cardigan_reco_encodingrequest_changelist")
VERSIONS = reverse("admin:cardigan_reco_encoderversion_changelist")
EMBEDDINGS = reverse("admin:testapp_productimageembedding_changelist")
SCRIPT = "<script>alert(1)</script>"
State = EncodingRequest.State


def change_url(row: Any) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


def staff(*codenames: str) -> Client:
    """Returns a client whose user has these permissions."""
    user = User.objects.create(username="-".join(codenames) or "nobody", is_staff=True)
    permissions = Permission.objects.filter(codename__in=codenames)
    assert len(permissions) == len(codenames)
    user.user_permissions.set(permissions)
    client = Client()
    client.force_login(user)
    return client


def read(response: HttpResponse) -> str:
    """Returns the page as text without tags, its white space joined."""
    assert response.status_code == 200
    return " ".join(re.sub(r"<[^>]*>", " ", response.content.decode()).split())


def queries(client: Client, url: str) -> list[str]:
    client.get(url)  # The content types are cached from now on.
    with CaptureQueriesContext(connection) as captured:
        assert client.get(url).status_code == 200
    return [query["sql"] for query in captured.captured_queries]


def fail(image: ProductImage, state: State = State.BAD_IMAGE, error: str = "Broken.") -> Any:
    """Gives up the request of an image."""
    request = EncodingRequest.objects.get(source_pk=str(image.pk))
    EncodingRequest.objects.filter(pk=request.pk).update(state=state, error=error, attempts=3)
    request.refresh_from_db()
    return request


class TestQueue:
    def test_overview_counts_at_a_glance(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        for number in range(6):
            add_product(f"p{number}", RED)
        encode_all()
        old = EncoderVersion.objects.create(encoder="default", fingerprint="0" * 64, dimensions=16)
        stale = ProductImageEmbedding.objects.values_list("pk")[:2]
        ProductImageEmbedding.objects.filter(pk__in=list(stale)).update(encoder_version=old)
        images = [add_product(f"q{number}", RED).images.get() for number in range(7)]
        fail(images[0], State.DEAD)
        fail(images[1], State.DEAD)
        fail(images[2], State.MISSING)
        fail(images[3], State.LEASED, "")
        page = read(admin_client.get(QUEUE))
        row = page.partition("At a glance")[2].partition("testapp.PosterEmbedding")[0]
        assert row.strip() == (
            "Collection Encoder Encoded Stale Waiting Being encoded Failed "
            "testapp.ProductImageEmbedding default 6 2 3 1 file missing (1) , given up (2)"
        )

    def test_numbers_of_the_overview_lead_to_their_rows(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        broken = fail(add_product("mug", RED).images.get())
        add_product("bowl", RED)
        page = admin_client.get(QUEUE).content.decode()
        (link,) = re.findall(r'href="(\?state__exact=bad_image&amp;collection[^"]*)"', page)
        found = admin_client.get(QUEUE + link.replace("&amp;", "&"))
        assert list(found.context["cl"].result_list) == [broken]

    def test_overview_of_an_encoder_that_cannot_be_built(
        self, admin_client: Client, settings: Settings, add_product: AddProduct
    ) -> None:
        add_product("mug", RED)
        settings.CARDIGAN_RECO = {
            "ENCODERS": {"other": settings.CARDIGAN_RECO["ENCODERS"]["default"]}
        }
        page = read(admin_client.get(QUEUE))
        assert "is not defined in CARDIGAN_RECO" in page
        assert read(admin_client.get(VERSIONS))

    def test_rows_show_state_error_and_age(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        request = fail(add_product("mug", RED).images.get(), error="Half a JPEG.")
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {EncodingRequest._meta.db_table} "
                "SET requested_at = clock_timestamp() - interval '3 hours 5 minutes'"
            )
        page = read(admin_client.get(QUEUE))
        assert (
            f"Product image {request.source_pk} not a usable picture 3 hours 3 / 3 Half a JPEG."
        ) in page.replace("\xa0", " ")

    @pytest.mark.parametrize("parameters", [{"state__exact": "dead"}, {"q": "vanished"}])
    def test_filters_and_search(
        self, admin_client: Client, add_product: AddProduct, parameters: dict[str, str]
    ) -> None:
        dead = fail(add_product("mug", RED).images.get(), State.DEAD, "It vanished.")
        add_product("bowl", RED)
        found = admin_client.get(QUEUE, parameters)
        assert list(found.context["cl"].result_list) == [dead]

    def test_change_page_shows_picture_source_and_the_whole_error(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        image = add_product("mug", RED).images.get()
        request = fail(image, error=f"{SCRIPT} " + "word " * 100 + "end.")
        response = admin_client.get(change_url(request))
        html = response.content.decode()
        assert "word end.</div>" in html
        assert SCRIPT not in html
        assert f'src="{image.original.url}"' in html
        assert f'<a href="{change_url(image)}">mug 0</a>' in html
        assert "lease_token" not in html
        assert 'name="_save"' not in html
        assert "deletelink" not in html

    @pytest.mark.parametrize(
        ("collection", "source_pk", "name"),
        [
            ("testapp.productimageembedding", "987654", "Product image"),
            ("testapp.posterembedding", "no-uuid", "Poster"),
            ("testapp.productimageembedding", "x", "Product image"),
            ("testapp.removed", "5", "testapp.removed"),
        ],
    )
    def test_a_request_whose_source_is_gone(
        self, admin_client: Client, collection: str, source_pk: str, name: str
    ) -> None:
        request = EncodingRequest.objects.create(collection=collection, source_pk=source_pk)
        assert f"{source_pk} (no longer there)" in read(admin_client.get(change_url(request)))
        assert f"{name} {source_pk}" in read(admin_client.get(QUEUE))

    def test_queries_are_constant(self, admin_client: Client, add_product: AddProduct) -> None:
        add_product("mug", RED)
        few = queries(admin_client, QUEUE)
        for number in range(10):
            add_product(f"p{number}", RED, GREEN)
        assert len(queries(admin_client, QUEUE)) == len(few)


def act(client: Client, url: str, action: str, *rows: Any, **extra: str) -> HttpResponse:
    data = {"action": action, "_selected_action": [row.pk for row in rows], **extra}
    return client.post(url, data, follow=True)


class TestTryAgain:
    def test_sends_what_was_given_up_back(
        self,
        admin_client: Client,
        add_product: AddProduct,
        silent_doorbell: list[str],
        django_capture_on_commit_callbacks: Callable[..., Any],
    ) -> None:
        one, two = add_product("mug", RED, GREEN).images.all()
        failed = [fail(one), fail(two, State.DEAD)]
        silent_doorbell.clear()
        with django_capture_on_commit_callbacks(execute=True):
            response = act(admin_client, QUEUE, "try_again", *failed)
        assert "2 pictures wait to be encoded again." in read(response)
        values = EncodingRequest.objects.values_list("state", "attempts", "error")
        assert list(values) == [("waiting", 0, "")] * 2
        assert silent_doorbell == ["default"]
        assert encode_all().encoded == 2

    def test_is_logged(self, admin_client: Client, add_product: AddProduct) -> None:
        request = fail(add_product("mug", RED).images.get())
        act(admin_client, QUEUE, "try_again", request)
        entry = LogEntry.objects.get()
        assert entry.user.username == "admin"
        assert entry.object_id == str(request.pk)
        assert entry.action_flag == CHANGE
        assert entry.change_message == "Sent back to be encoded."

    def test_names_and_the_log_are_in_the_sites_language(
        self, admin_client: Client, add_product: AddProduct, settings: Settings, tmp_path: Path
    ) -> None:
        texts = {
            "Visual recommendations": "Empfehlungen",
            "Marked to be encoded again.": "Vorgemerkt.",
            "Sent back to be encoded.": "Zurückgeschickt.",
        }
        translations.speak(settings, tmp_path, texts)
        encoded, failed = add_product("mug", RED, GREEN).images.all()
        encode_all()
        act(admin_client, EMBEDDINGS, "encode_again", encoded)
        queue.mark(ProductImageEmbedding, [failed.pk], using="default")
        act(admin_client, QUEUE, "try_again", fail(failed))
        told = LogEntry.objects.order_by("pk").values_list("change_message", flat=True)
        assert list(told) == ["Vorgemerkt.", "Zurückgeschickt."]
        assert "Empfehlungen" in read(admin_client.get(reverse("admin:index")))

    def test_leaves_what_waits_or_is_being_encoded_alone(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        one, two = add_product("mug", RED, GREEN).images.all()
        waiting = EncodingRequest.objects.get(source_pk=str(one.pk))
        leased = fail(two, State.LEASED, "")
        response = act(admin_client, QUEUE, "try_again", waiting, leased)
        assert "Nothing to do: none of the selected was given up." in read(response)
        leased.refresh_from_db()
        assert (leased.state, leased.attempts) == ("leased", 3)
        assert not LogEntry.objects.exists()

    def test_by_get_does_nothing(self, admin_client: Client, add_product: AddProduct) -> None:
        request = fail(add_product("mug", RED).images.get())
        admin_client.get(QUEUE, {"action": "try_again", "_selected_action": request.pk})
        request.refresh_from_db()
        assert request.state == State.BAD_IMAGE

    def test_without_a_csrf_token_does_nothing(
        self, admin_user: User, add_product: AddProduct
    ) -> None:
        request = fail(add_product("mug", RED).images.get())
        client = Client(enforce_csrf_checks=True)
        client.force_login(admin_user)
        assert act(client, QUEUE, "try_again", request).status_code == 403
        request.refresh_from_db()
        assert request.state == State.BAD_IMAGE

    def test_needs_the_permission_to_change(self, add_product: AddProduct) -> None:
        request = fail(add_product("mug", RED).images.get())
        viewer = staff("view_encodingrequest")
        assert "Try the selected again" not in read(viewer.get(QUEUE))
        act(viewer, QUEUE, "try_again", request)
        request.refresh_from_db()
        assert request.state == State.BAD_IMAGE
        changer = staff("change_encodingrequest")
        assert "Try the selected again" in read(changer.get(QUEUE))
        act(changer, QUEUE, "try_again", request)
        request.refresh_from_db()
        assert request.state == State.WAITING


class TestVersions:
    def test_shows_how_many_vectors_each_made_and_which_is_in_use(
        self, admin_client: Client, add_product: AddProduct
    ) -> None:
        for number in range(3):
            add_product(f"p{number}", RED)
        Poster.objects.create(title="A", image=ContentFile(jpeg(), name="a.jpg"))
        encode_all()
        old = EncoderVersion.objects.create(
            encoder="default", fingerprint="0" * 64, backend="old.Encoder", dimensions=16
        )
        one = ProductImageEmbedding.objects.values_list("pk")[:1]
        ProductImageEmbedding.objects.filter(pk__in=list(one)).update(encoder_version=old)
        response = admin_client.get(VERSIONS)
        shown = {
            row.fingerprint: (row.embedding_count, row.is_in_use)
            for row in response.context["cl"].result_list
        }
        new = EncoderVersion.objects.exclude(pk=old.pk).get()
        assert shown == {old.fingerprint: (1, False), new.fingerprint: (3, True)}
        assert "default 00000000" in read(response)
        page = read(admin_client.get(change_url(old)))
        assert "0" * 64 in page
        assert "old.Encoder" in page

    def test_queries_are_constant(self, admin_client: Client, add_product: AddProduct) -> None:
        add_product("mug", RED)
        encode_all()
        few = queries(admin_client, VERSIONS)
        for digit in "123456":
            EncoderVersion.objects.create(encoder="default", fingerprint=digit * 64, dimensions=16)
        assert len(queries(admin_client, VERSIONS)) == len(few)


class TestEmbeddings:
    @pytest.fixture
    def shop(self, add_product: AddProduct) -> None:
        add_product("mug", RED)
        add_product("cup", ORANGE)
        add_product("bowl", GREEN)
        add_product("hidden", RED, is_public=False)
        encode_all()

    def embedding(self, title: str) -> ProductImageEmbedding:
        return ProductImageEmbedding.objects.get(source__product__title=title)

    def test_list_has_thumbnails(self, admin_client: Client, shop: None) -> None:
        html = admin_client.get(EMBEDDINGS).content.decode()
        for image in ProductImage.objects.all():
            assert f'src="{image.original.url}" alt="{image}" width="64" height="64"' in html

    def test_page_has_the_picture_and_its_nearest_neighbours(
        self, admin_client: Client, shop: None
    ) -> None:
        mug = self.embedding("mug")
        html = admin_client.get(change_url(mug)).content.decode()
        assert f'src="{mug.source.original.url}" alt="mug 0" width="240"' in html
        neighbours = html.partition("cardigan-neighbours")[2]
        names = re.findall(r'width="120"[^>]*><br><a href="([^"]*)">(\w+)</a>', neighbours)
        assert [name for _url, name in names] == ["cup", "bowl"]
        assert [url for url, _name in names] == [
            change_url(Product.objects.get(title=title)) for title in ("cup", "bowl")
        ]
        similarities = re.findall(r'cardigan-similarity">([\d.]+)<', neighbours)
        assert similarities == sorted(similarities, reverse=True)
        assert 'name="_save"' not in html

    def test_similarities_are_numbers_of_the_language(
        self, admin_client: Client, shop: None, settings: Settings
    ) -> None:
        settings.LANGUAGE_CODE = "de"
        html = admin_client.get(change_url(self.embedding("mug"))).content.decode()
        assert re.search(r'cardigan-similarity">0,\d{3}<', html)

    def test_page_of_a_lonely_picture(self, admin_client: Client) -> None:
        poster = Poster.objects.create(title="A", image=ContentFile(jpeg(), name="a.jpg"))
        encode_all()
        page = read(admin_client.get(change_url(PosterEmbedding.objects.get(pk=poster.pk))))
        assert "None that may be shown." in page

    def test_a_search_that_takes_too_long_leaves_the_page(
        self, admin_client: Client, shop: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cancelled(*args: object, **kwargs: object) -> list[object]:
            raise OperationalError("canceling statement due to statement timeout")

        monkeypatch.setattr(recommendations, "similar_to_picture", cancelled)
        page = read(admin_client.get(change_url(self.embedding("mug"))))
        assert "The search failed: canceling statement due to statement timeout" in page

    def test_no_vector_is_selected(self, admin_client: Client, shop: None) -> None:
        fetched: set[int] = set()

        def watch(execute: Callable[..., Any], *arguments: Any) -> Any:
            result = execute(*arguments)
            columns = arguments[-1]["cursor"].description or []
            fetched.update(column.type_code for column in columns)
            return result

        with connection.cursor() as cursor:
            cursor.execute("SELECT 'halfvec'::regtype::oid::int")
            (halfvec,) = cursor.fetchone()
        mug = change_url(self.embedding("mug"))
        with connection.execute_wrapper(watch):
            for url in (EMBEDDINGS, mug, QUEUE, VERSIONS):
                assert admin_client.get(url).status_code == 200
            assert fetched
            assert halfvec not in fetched
            self.embedding("mug")
            assert halfvec in fetched  # The watch would have seen it.

    def test_queries_are_constant(
        self, admin_client: Client, shop: None, add_product: AddProduct
    ) -> None:
        mug = change_url(self.embedding("mug"))
        few = [len(queries(admin_client, url)) for url in (EMBEDDINGS, mug)]
        for number in range(10):
            add_product(f"p{number}", BLUE, RED)
        encode_all()
        assert [len(queries(admin_client, url)) for url in (EMBEDDINGS, mug)] == few

    def test_names_are_escaped(self, admin_client: Client, shop: None) -> None:
        Product.objects.filter(title="cup").update(title=f"{SCRIPT}'\"")
        for url in (EMBEDDINGS, change_url(self.embedding("mug"))):
            html = admin_client.get(url).content.decode()
            assert SCRIPT not in html
            assert "&lt;script&gt;alert(1)&lt;/script&gt;&#x27;&quot;" in html

    @pytest.mark.parametrize("content", [None, b"", b"<html>"])
    def test_a_missing_or_broken_file_leaves_the_pages(
        self, admin_client: Client, shop: None, media: Path, content: bytes | None
    ) -> None:
        mug = self.embedding("mug")
        for embedding in (mug, self.embedding("cup")):
            file = media / embedding.source.original.name
            if content is None:
                file.unlink()
            else:
                file.write_bytes(content)
        failed = EncodingRequest.objects.create(
            collection="testapp.productimageembedding", source_pk=str(mug.pk)
        )
        for url in (EMBEDDINGS, change_url(mug), QUEUE, change_url(failed)):
            assert admin_client.get(url).status_code == 200

    def test_a_picture_without_a_file_or_an_address(
        self, admin_client: Client, shop: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ProductImage.objects.filter(product__title="mug").update(original="")
        private = FileSystemStorage(base_url=None)
        private.base_url = None
        monkeypatch.setattr(ProductImage._meta.get_field("original"), "storage", private)
        for url in (EMBEDDINGS, change_url(self.embedding("mug"))):
            html = admin_client.get(url).content.decode()
            assert "cardigan-picture" not in html

    def test_encode_again_marks_logs_and_wakes(
        self,
        admin_client: Client,
        shop: None,
        silent_doorbell: list[str],
        django_capture_on_commit_callbacks: Callable[..., Any],
    ) -> None:
        silent_doorbell.clear()
        mug, cup = self.embedding("mug"), self.embedding("cup")
        with django_capture_on_commit_callbacks(execute=True):
            response = act(admin_client, EMBEDDINGS, "encode_again", mug, cup)
        assert "2 pictures are looked at again" in read(response)
        marked = set(EncodingRequest.objects.values_list("source_pk", "state"))
        assert marked == {(str(mug.pk), "waiting"), (str(cup.pk), "waiting")}
        assert silent_doorbell == ["default"]
        logged = LogEntry.objects.values_list("object_id", "change_message")
        message = "Marked to be encoded again."
        assert set(logged) == {(str(mug.pk), message), (str(cup.pk), message)}
        assert encode_all().skipped == 2

    def test_encode_again_needs_the_permission_to_change(self, shop: None) -> None:
        viewer = staff("view_productimageembedding")
        assert "Encode the selected again" not in read(viewer.get(EMBEDDINGS))
        act(viewer, EMBEDDINGS, "encode_again", self.embedding("mug"))
        assert not EncodingRequest.objects.exists()


class TestPermissions:
    @pytest.fixture
    def rows(self, add_product: AddProduct) -> list[Any]:
        image = add_product("mug", RED).images.get()
        encode_all()
        image.save()
        return [
            EncodingRequest.objects.get(),
            EncoderVersion.objects.get(),
            ProductImageEmbedding.objects.get(),
        ]

    def test_who_may_view_sees_all_pages(self, rows: list[Any]) -> None:
        viewer = staff(*(f"view_{row._meta.model_name}" for row in rows))
        assert viewer.get(reverse("admin:index")).status_code == 200
        for row in rows:
            assert viewer.get(change_url(row)).status_code == 200
            assert viewer.get(change_url(row).replace("change", "history")).status_code == 200
        for url in (QUEUE, VERSIONS, EMBEDDINGS):
            assert viewer.get(url).status_code == 200

    def test_who_may_nothing_sees_none(self, rows: list[Any]) -> None:
        nobody = staff()
        index = read(nobody.get(reverse("admin:index")))
        assert "You don’t have permission to view or edit anything." in index
        for url in (QUEUE, VERSIONS, EMBEDDINGS, *map(change_url, rows)):
            assert nobody.get(url).status_code == 403

    def test_nobody_adds_edits_or_deletes(self, admin_client: Client, rows: list[Any]) -> None:
        for row in rows:
            url = change_url(row)
            assert admin_client.post(url, {"version": 1}).status_code == 403
            assert (
                admin_client.post(url.replace("change", "delete"), {"post": "yes"}).status_code
                == 403
            )
            name = f"{row._meta.app_label}_{row._meta.model_name}"
            assert admin_client.get(reverse(f"admin:{name}_add")).status_code == 403
            act(
                admin_client,
                reverse(f"admin:{name}_changelist"),
                "delete_selected",
                row,
                post="yes",
            )
            row.refresh_from_db(fields=["pk"])

    def test_embeddings_do_not_keep_a_product_from_being_deleted(self, rows: list[Any]) -> None:
        product = Product.objects.get()
        add_image(product, GREEN)
        encode_all()
        seller = staff("view_product", "delete_product", "delete_productimage")
        url = change_url(product).replace("change", "delete")
        assert "Are you sure" in read(seller.get(url))
        assert seller.post(url, {"post": "yes"}).status_code == 302
        assert not Product.objects.exists()
        assert not ProductImageEmbedding.objects.exists()
        assert not EncodingRequest.objects.exists()


@pytest.mark.parametrize(
    ("page", "way"),
    [
        ("cardigan_reco_comparisonvote_changelist", "Compare encoders"),
        ("cardigan_reco_comparisonvote_votes", "Compare encoders › Votes"),
        ("cardigan_reco_duplicategroup_thresholds", "Duplicate listings › Thresholds"),
    ],
)
def test_breadcrumbs_are_of_the_element_that_the_admin_styles(
    admin_client: Client, settings: Settings, page: str, way: str
) -> None:
    settings.CARDIGAN_RECO = {**settings.CARDIGAN_RECO, "DUPLICATES": {}}
    breadcrumbs = re.compile(r'<(\w+) class="breadcrumbs">(.*?)</\1>', re.DOTALL)

    def found(url: str) -> tuple[str, str]:
        match = breadcrumbs.search(admin_client.get(url).content.decode())
        assert match
        # Where they are a list, the style sheet puts the signs between.
        text = match[2].replace("</li>\n<li", "</li> › <li").replace("&rsaquo;", "›")
        return match[1], " ".join(re.sub(r"<[^>]*>", " ", text).split())

    element, _text = found(VERSIONS)
    assert found(reverse(f"admin:{page}")) == (element, f"Home › Visual recommendations › {way}")
