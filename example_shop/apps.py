from django.apps import AppConfig


class ShopConfig(AppConfig):
    name = "example_shop"
    label = "shop"
    verbose_name = "Shop"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import celery  # noqa: F401  So that tasks are sent to this shop's broker.
