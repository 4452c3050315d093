"""The sections of the document that exist once: policy and prices. Imports only ``routes.models.base``."""

from __future__ import annotations

from typing import Self

from django.db import models

from routes.models.base import Section


class Singleton(Section):
    class Meta:
        abstract = True

    @classmethod
    def get(cls, *, lock: bool = False) -> Self:
        """The row, made on first use. ``lock`` needs a transaction."""
        rows = cls._default_manager.select_for_update() if lock else cls._default_manager.all()
        row = rows.filter(pk=1).first()
        if row is None:
            cls._default_manager.get_or_create(pk=1)
            row = rows.get(pk=1)
        return row


class Policy(Singleton):
    default_strategy = models.CharField(max_length=64, default="failover")
    enable_geo_routing = models.BooleanField(default=True)
    enable_load_balancing = models.BooleanField(default=True)
    enable_model_specific = models.BooleanField(default=True)
    enable_predictive = models.BooleanField(default=True)
    enable_adaptive = models.BooleanField(default=True)
    region_priority = models.JSONField(default=list, blank=True)
    prediction_window = models.FloatField(default=15)  # minutes
    load_growth_factor = models.FloatField(default=1.1)
    capacity_threshold = models.FloatField(default=80)  # percent
    geo = models.JSONField(default=dict, blank=True)  # country -> region

    class Meta:
        verbose_name_plural = "policy"

    def __str__(self) -> str:
        return "policy"


class PriceTable(Singleton):
    """Model name -> USD per million tokens, where a provider has none of its own."""

    prices = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name_plural = "prices"

    def __str__(self) -> str:
        return "prices"
