"""Rules for every deployment: one function each, which yields every violation.

A rule takes the evaluated template and the set of parameters that it was evaluated for. Each module has the rules of
one area. tests/infra/test_templates.py checks that every rule holds, and that it notices when a deployment is broken.
"""

from .app import health_checks_call_live, settings_reach_by_identity
from .common import Rule
from .containers import container_app_is_closed, container_instance_is_inside, registry_is_closed
from .database import database_is_closed
from .identity import exactly_these_roles, sign_in_has_no_secret
from .machine import machine_is_inside
from .monitoring import alerts_send_mail, diagnostic_logs_are_kept, telemetry_takes_no_key
from .network import endpoints_lead_inside, network_denies
from .resources import (
    everything_is_tagged,
    exactly_these_resources,
    locks_forbid_deletion,
    no_secret,
    nothing_unresolved,
)
from .sites import (
    app_service_runs_the_image,
    flex_runs_as_configured,
    no_passwords_for_publishing,
    nothing_that_flex_refuses,
    site_is_closed,
)
from .storage import blobs_can_be_restored, host_is_out_of_reach, only_the_console_uploads, storage_is_closed
from .vault import master_key_only_wraps, vault_is_closed

__all__ = ["RULES", "Rule"]

RULES: tuple[Rule, ...] = (
    exactly_these_resources,
    exactly_these_roles,
    nothing_unresolved,
    no_secret,
    site_is_closed,
    no_passwords_for_publishing,
    health_checks_call_live,
    flex_runs_as_configured,
    nothing_that_flex_refuses,
    settings_reach_by_identity,
    storage_is_closed,
    only_the_console_uploads,
    host_is_out_of_reach,
    blobs_can_be_restored,
    vault_is_closed,
    master_key_only_wraps,
    telemetry_takes_no_key,
    diagnostic_logs_are_kept,
    network_denies,
    endpoints_lead_inside,
    database_is_closed,
    sign_in_has_no_secret,
    alerts_send_mail,
    registry_is_closed,
    container_app_is_closed,
    container_instance_is_inside,
    machine_is_inside,
    app_service_runs_the_image,
    locks_forbid_deletion,
    everything_is_tagged,
)
