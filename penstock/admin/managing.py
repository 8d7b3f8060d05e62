"""The table of management URLs of what keys and users belong to, and of what is kept beside them."""

from __future__ import annotations

from penstock.admin import (
    access_groups,
    audit,
    budgets,
    configs,
    credentials,
    invitations,
    organizations,
    orgmembers,
    projects,
    revisions,
    tags,
    teams,
)

ROUTES = (
    *teams.ROUTES,
    *organizations.ROUTES,
    *orgmembers.ROUTES,
    *budgets.ROUTES,
    *tags.ROUTES,
    *projects.ROUTES,
    *access_groups.ROUTES,
    *credentials.ROUTES,
    *audit.ROUTES,
    *configs.ROUTES,
    *revisions.ROUTES,
    *invitations.ROUTES,
)
