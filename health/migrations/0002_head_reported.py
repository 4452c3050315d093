from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("health", "0001_initial"),
    ]

    operations = [
        migrations.AddField(
            model_name="head",
            name="reported",
            field=models.CharField(choices=[("active", "Active"), ("draining", "Draining")], default="active", max_length=16),
        ),
    ]
