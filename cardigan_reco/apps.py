from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CardiganRecoConfig(AppConfig):
    name = "cardigan_reco"
    verbose_name = _("Visual recommendations")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, signals

        checks.connect()
        signals.connect()
