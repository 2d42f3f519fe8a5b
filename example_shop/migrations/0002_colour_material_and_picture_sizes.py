from django.apps.registry import Apps
from django.core.files.images import get_image_dimensions
from django.core.files.storage import default_storage
from django.db import migrations, models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def measure_pictures(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Writes the size of each picture that is there already."""
    pictures = apps.get_model("shop", "ProductImage")._base_manager.using(
        schema_editor.connection.alias
    )
    for pk, name in pictures.filter(width=None).values_list("pk", "original").iterator():
        try:
            with default_storage.open(name) as file:
                width, height = get_image_dimensions(file)
        except (OSError, ValueError):
            width = height = None
        # A row without a size opens its file whenever it is read, and fails if that is lost.
        pictures.filter(pk=pk).update(width=width or 1, height=height or 1)


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]

    operations = [
        migrations.AddField("product", "colour", models.CharField(blank=True, max_length=50)),
        migrations.AddField("product", "material", models.CharField(blank=True, max_length=100)),
        migrations.AddField(
            "productimage", "width", models.PositiveIntegerField(editable=False, null=True)
        ),
        migrations.AddField(
            "productimage", "height", models.PositiveIntegerField(editable=False, null=True)
        ),
        migrations.AlterField(
            "productimage",
            "original",
            models.ImageField(
                height_field="height",
                upload_to="products",
                verbose_name="picture",
                width_field="width",
            ),
        ),
        migrations.RunPython(measure_pictures, migrations.RunPython.noop, elidable=True),
    ]
