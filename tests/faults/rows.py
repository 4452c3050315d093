"""What must hold when something fails, and the tests that prove it: the table of the fault suite.

``OUTCOMES`` is what an attempt may come to and what follows, ``FAULTS`` what else the gateway must survive.
``test_every_row_has_a_test`` looks every name up. A test is named by its file below ``tests`` and its function.
"""

from __future__ import annotations

from typing import Final

_ATTEMPTS: Final = "gateway/test_attempts.py::"
_OUTCOMES: Final = "gateway/test_outcomes.py::"
_STREAMS: Final = "gateway/test_streams.py::"
_CANCEL: Final = "gateway/test_cancel.py::"
_EDGE: Final = "gateway/test_edge.py::"
_PROCESS: Final = "gateway/test_process.py::"
_CONFIGURATION: Final = "gateway/test_configuration.py::"
_SHARED: Final = "gateway/test_shared_state.py::"
_KILLED: Final = "ops/test_faults.py::"
_BODIES: Final = "faults/test_bodies.py::"
_QUARANTINES: Final = "faults/test_quarantines.py::"
_CONTEXT: Final = "faults/test_context_length.py::"
_LIMITS: Final = "faults/test_time_limits.py::"
_CONNECTIONS: Final = "faults/test_connections.py::"
_RETRY: Final = "faults/test_told_not_to_retry.py::"
_HALF_OPEN: Final = "faults/test_half_open.py::"
_FEED = "live_feed/test_feed.py::"
_HOSTS: Final = "faults/test_two_hosts.py::"
_CHANGES: Final = "ops/test_configuration_changes.py::"
_DOWN: Final = "faults/test_providers_down.py::"
_INPUT: Final = "faults/test_any_input.py::"
_SERVICES: Final = "faults/test_services.py::"

_INVISIBLE: Final = _OUTCOMES + "test_a_failed_attempt_is_invisible_when_another_target_answers"
_STREAM_INVISIBLE: Final = (
    _OUTCOMES + "test_a_stream_that_fails_before_its_content_is_invisible_when_another_target_answers"
)
_CUT: Final = _STREAMS + "test_a_stream_cut_after_content_ends_with_an_error_event_and_no_terminator"

#: what an attempt comes to -> the tests of what follows
OUTCOMES: Final[dict[str, tuple[str, ...]]] = {
    "connection refused": (_ATTEMPTS + "test_a_refused_connection_goes_to_the_next_target",),
    "reset or closed before the headers": (_INVISIBLE, _STREAM_INVISIBLE),
    "name does not resolve": (_ATTEMPTS + "test_a_name_that_does_not_resolve_goes_to_the_next_target",),
    "no TLS, or a certificate nobody vouches for": (
        _ATTEMPTS + "test_a_server_without_tls_goes_to_the_next_target",
        _BODIES + "test_a_certificate_nobody_vouches_for_goes_to_the_next_target",
    ),
    "reset, cut or stalled within a document": (
        _INVISIBLE,
        _BODIES + "test_a_document_that_stalls_while_it_is_held_goes_to_the_next_target",
    ),
    "time-out: connect": (_ATTEMPTS + "test_a_connection_that_is_not_made_in_time_goes_to_the_next_target",),
    "time-out: first_byte, before and after the headers": (
        _ATTEMPTS + "test_an_answer_that_does_not_begin_in_time_goes_to_the_next_target",
        _ATTEMPTS + "test_a_body_that_does_not_begin_in_time_goes_to_the_next_target",
        _LIMITS + "test_a_hanging_upstream_is_given_up_in_time_in_both_modes",
        _LIMITS + "test_a_time_out_counts_against_its_target",
    ),
    "time-out: first_event, whatever pings come": (
        _ATTEMPTS + "test_pings_do_not_satisfy_the_time_limit_of_the_first_event",
    ),
    "time-out: first_event_soft, while another target is left, not counted": (
        _ATTEMPTS + "test_a_slow_stream_is_left_early_only_while_another_target_is_left",
        _ATTEMPTS + "test_leaving_a_slow_stream_early_does_not_count_against_its_target",
        _LIMITS + "test_the_last_target_left_is_waited_for_until_the_hard_limit",
        _LIMITS + "test_a_target_left_that_may_not_serve_is_none",
        _LIMITS + "test_the_early_limit_is_off_at_zero_and_where_it_is_not_the_lower_one",
    ),
    "time-outs × 6 for requests that think": (
        _ATTEMPTS + "test_requests_that_think_may_be_silent_for_longer",
        _LIMITS + "test_a_request_that_thinks_is_left_early_six_times_as_late",
    ),
    "time-out: idle, and pings that reset it": (
        _CUT,
        _STREAMS + "test_pings_keep_a_stream_alive_after_its_content",
    ),
    "time-out: total": (
        _ATTEMPTS + "test_the_total_time_limit_ends_a_request_whatever_is_left",
        _ATTEMPTS + "test_a_route_whose_every_attempt_timed_out_is_a_timeout",
    ),
    "time-out: stream_max": (_STREAMS + "test_a_stream_ends_after_its_longest_time",),
    "429 with seconds, HTTP-date, retry-after-ms, or nothing": (
        _INVISIBLE,
        _ATTEMPTS + "test_a_rate_limit_keeps_traffic_away_as_long_as_it_says_within_bounds",
        _ATTEMPTS + "test_a_rate_limit_of_one_model_leaves_the_others_of_that_provider_alone",
        _ATTEMPTS + "test_a_short_rate_limit_is_waited_for_when_nothing_else_is_left",
        _QUARANTINES + "test_another_credential_at_the_same_upstream_is_not_affected",
        _QUARANTINES + "test_what_asks_for_two_seconds_serves_again_in_both_processes_when_they_are_over",
        _QUARANTINES + "test_a_rate_limit_that_names_no_time_keeps_both_processes_away_for_a_minute",
    ),
    "403": (
        _ATTEMPTS + "test_a_forbidden_model_leaves_the_others_of_that_provider_alone",
        _QUARANTINES + "test_another_credential_at_the_same_upstream_is_not_affected",
    ),
    "401, 402, 400 about billing: the second in 60 s": (
        _QUARANTINES + "test_the_second_refusal_of_a_credential_takes_out_every_model_of_its_provider",
        _QUARANTINES + "test_one_refusal_of_a_credential_is_not_enough",
        _ATTEMPTS + "test_a_credential_refused_twice_is_quarantined_until_it_is_edited",
    ),
    "401, 402, 400 about billing: surfaced as ours": (
        _QUARANTINES + "test_a_refused_credential_is_told_as_ours_where_the_profile_says_so",
    ),
    "a credential edit lifts quarantines": (
        _QUARANTINES + "test_a_changed_credential_lifts_every_quarantine_at_once",
        _CHANGES + "test_a_new_credential_lifts_its_quarantine_at_once_and_nothing_is_published",
        _HOSTS + "test_a_quarantine_of_one_host_holds_on_the_other_and_a_changed_credential_lifts_it_on_both",
    ),
    "500, 502, 503, 504, 529": (
        _INVISIBLE,
        _ATTEMPTS + "test_a_circuit_opens_after_its_threshold_and_the_target_is_left_alone",
        _ATTEMPTS + "test_anthropic_requests_fail_over_in_the_same_way",
    ),
    "503 with Retry-After": (_ATTEMPTS + "test_an_overloaded_target_that_names_a_time_is_left_alone_until_then",),
    "context too long": (
        _CONTEXT + "test_the_next_target_is_one_whose_window_is_known_to_be_larger",
        _CONTEXT + "test_a_window_is_known_from_the_built_in_table_too",
        _CONTEXT + "test_the_same_model_is_never_asked_twice_whatever_is_said_of_its_window",
        _CONTEXT + "test_where_none_is_larger_the_client_reads_the_upstreams_own_refusal",
        _CONTEXT + "test_a_request_that_is_too_long_says_nothing_about_the_target",
        _CONTEXT + "test_messages_move_on_to_a_larger_window_too",
    ),
    "400, 404, 409, 413, 422, 501, content filters": (
        _OUTCOMES + "test_an_error_that_is_the_clients_own_is_handed_on_as_it_is",
        _ATTEMPTS + "test_the_body_of_a_handed_on_error_is_the_upstreams_bytes",
        _ATTEMPTS + "test_a_content_filter_that_answers_is_an_answer",
        _ATTEMPTS + "test_answers_that_are_not_the_targets_fault_never_open_its_circuit",
    ),
    "error document, HTML or no JSON in a 200": (_INVISIBLE, _STREAM_INVISIBLE),
    "error as the first event, an end before content": (_STREAM_INVISIBLE,),
    "redirect": (_ATTEMPTS + "test_a_redirect_is_never_followed",),
    "ambiguous framing": (
        _OUTCOMES + "test_an_answer_in_an_ambiguous_frame_is_not_taken_and_its_connection_not_used_again",
        _ATTEMPTS + "test_a_target_that_breaks_the_protocol_is_named_when_it_is_the_only_one",
        _ATTEMPTS + "test_an_unusual_but_sound_frame_is_taken",
    ),
    "packed although nobody asked": (
        _STREAMS + "test_packed_streams_and_documents_arrive_unpacked",
        _BODIES + "test_a_packed_body_that_unpacks_to_far_more_goes_to_the_next_target",
    ),
    "slow drip": (_BODIES + "test_an_answer_that_drips_arrives_whole",),
    "huge and endless bodies": (
        _BODIES + "test_64_mb_pass_through_whole_and_leave_the_memory_flat",
        _BODIES + "test_an_endless_answer_leaves_the_memory_flat_while_it_is_read_and_ends_when_the_client_leaves",
        _STREAMS + "test_an_endless_answer_does_not_fill_the_memory_while_the_client_does_not_read",
    ),
    "stream cut or stalled after 1 and 5 events": (
        _CUT,
        _STREAMS + "test_a_cut_counts_against_its_target",
        "gateway/test_sdk_errors.py::test_a_stream_that_fails_after_content_raises_and_is_not_tried_again",
        "gateway/test_sdk_errors.py::test_a_stream_that_fails_after_content_raises_and_is_not_tried_again",
    ),
    "error event after content": (_STREAMS + "test_an_error_event_of_the_upstream_ends_the_stream_as_a_failure",),
    "other bodies cut after their first byte": (
        _BODIES + "test_what_nobody_looks_into_is_cut_visibly_and_counted",
        _STREAMS + "test_a_large_document_that_is_cut_ends_visibly_incomplete",
    ),
    "clean end with a finish reason but no [DONE]": (
        _STREAMS + "test_a_missing_done_after_the_finish_reason_is_supplied",
        _STREAMS + "test_in_other_formats_a_missing_end_event_is_a_cut",
    ),
    "malformed event": (_STREAMS + "test_a_malformed_event_is_dropped_and_noted_and_the_rest_is_untouched",),
    "stream relayed byte for byte, at any chunking": (
        _STREAMS + "test_a_stream_is_relayed_byte_for_byte",
        _STREAMS + "test_a_stream_ends_with_its_own_terminator_however_it_is_cut_into_packets",
    ),
    "client leaves before the headers": (_CANCEL + "test_leaving_before_the_headers_cancels_the_upstream",),
    "client leaves before the first event": (_CANCEL + "test_leaving_before_the_first_event_cancels_the_upstream",),
    "client leaves mid-stream": (
        _CANCEL + "test_leaving_in_the_middle_of_a_stream_cancels_the_upstream_and_keeps_what_was_used",
        _CANCEL + "test_a_cancelled_request_says_nothing_about_its_target",
    ),
    "everything rate-limited": (
        _ATTEMPTS + "test_when_everything_is_rate_limited_the_client_hears_the_soonest_time",
        _RETRY + "test_when_everything_is_rate_limited_after_several_attempts_the_time_is_told_instead",
    ),
    "x-should-retry": (
        _RETRY + "test_an_upstreams_error_after_two_attempts_says_so_and_after_one_does_not",
        _RETRY + "test_a_408_of_the_upstream_may_be_retried_however_often_was_tried",
        _RETRY + "test_one_failed_attempt_may_be_retried_by_the_client",
        _RETRY + "test_our_own_4xx_says_so_at_once",
        _ATTEMPTS + "test_when_everything_failed_the_client_reads_which_and_why_in_its_own_format",
        "gateway/test_sdk_errors.py::test_the_sdk_does_not_try_again_what_was_tried_on_two_targets",
    ),
    "services: what may not be sent twice": (
        _SERVICES + "test_what_may_be_sent_twice_goes_to_the_next_target",
        _SERVICES + "test_what_may_not_be_sent_twice_ends_with_its_attempt",
        _SERVICES + "test_what_was_never_sent_goes_to_the_next_target_whatever_it_is",
        _SERVICES + "test_a_profile_may_allow_it",
    ),
    "passes, attempts and the retry budget": (
        _ATTEMPTS + "test_what_failed_quickly_is_tried_once_more_when_nothing_else_is_left",
        _ATTEMPTS + "test_max_attempts_ends_a_request",
        _ATTEMPTS + "test_the_retry_budget_ends_a_storm",
    ),
}

#: what else happens -> the tests of what holds
FAULTS: Final[dict[str, tuple[str, ...]]] = {
    "database down": (
        "history/test_survival.py::test_what_was_written_while_the_database_was_away_arrives_when_it_is_back",
    ),
    "start while the database is down": (
        "ops/test_life.py::test_without_its_database_it_serves_what_was_published_and_tells_of_it_later",
    ),
    "console process killed": (_KILLED + "test_a_killed_console_comes_back_and_no_request_notices",),
    "Redis down, mute": (
        _CONFIGURATION + "test_a_redis_that_is_away_is_named_and_changes_nothing",
        _CONFIGURATION + "test_a_mute_redis_is_as_good_as_none",
    ),
    "the live feed while the database is down, and Redis down, mute, flushed, restarted": (
        "history/test_teller.py::test_the_feed_goes_on_while_the_database_is_away_and_repeats_nothing_when_it_is_back",
        _FEED + "test_while_redis_is_down_events_are_dropped_counted_and_seen_as_a_gap",
        _FEED + "test_a_mute_redis_is_asked_once_a_second",
        _FEED + "test_watchers_hear_again_by_themselves_when_redis_was_restarted",
        _FEED + "test_watchers_hear_again_by_themselves_when_redis_was_mute",
        _FEED + "test_a_flushed_feed_goes_on_with_a_gap",
        "live_feed/test_sockets.py::test_watchers_hear_again_by_themselves_after_redis_was_killed",
        "live_feed/test_without_database.py::test_routes_are_told_to_who_watches_and_to_keys_that_come_now",
    ),
    "worker, beat and Redis killed": (
        _KILLED + "test_a_killed_worker_beat_and_redis_come_back_and_no_request_notices",
    ),
    "worker or beat dead": (
        _KILLED + "test_a_killed_worker_beat_and_redis_come_back_and_no_request_notices",
        "faults/test_nobody_probes.py::test_what_probes_said_is_forgotten_by_both_processes_although_nobody_probes",
        "faults/test_nobody_probes.py::test_a_worker_that_comes_back_asks_everybody_once_whatever_beat_sent_meanwhile",
    ),
    "SIGTERM": (
        "faults/test_stopping.py::test_twenty_open_streams_and_requests_finish_and_each_has_its_row",
        _PROCESS + "test_readiness_goes_first_and_requests_are_served_during_the_delay",
        _PROCESS + "test_an_open_stream_is_finished_while_stopping",
        _PROCESS + "test_the_drain_time_cuts_a_stream_that_is_too_long",
        "ops/test_life.py::test_on_sigterm_a_stream_is_finished_first_and_a_second_signal_ends_it_now",
    ),
    "clock an hour wrong, and jumps of an hour": (
        "live/test_exchange.py::test_a_clock_that_is_an_hour_wrong_or_jumps_moves_nothing",
    ),
    "disk full": (
        "history/test_journal.py::test_a_full_journal_drops_the_newest_and_counts_each_one",
        "history/test_journal.py::test_a_full_journal_keeps_the_ends_of_what_it_began_and_nothing_of_the_others",
        "gateway/test_metrics.py::test_a_journal_that_is_full_costs_no_answer_and_every_lost_route_is_counted_once",
        "history/test_journal.py::test_a_short_write_on_a_full_disk_leaves_no_half_record_and_the_next_ones_are_kept",
        "live/test_file.py::test_a_full_disk_is_said_once_and_costs_only_what_is_new",
    ),
    "SIGKILL of any process under load": (
        "history/test_survival.py::test_no_answered_request_is_lost_or_doubled_by_many_kills",
        _KILLED + "test_every_answered_request_has_one_row_after_five_random_kills",
        _SHARED + "test_a_killed_process_gives_back_its_seats_and_keeps_what_all_know",
    ),
    "publishing 20/s under load, invalid ones among them": (
        "faults/test_publishing.py::test_every_request_sees_exactly_one_revision_and_none_fails",
        _CONFIGURATION + "test_no_request_fails_or_sees_two_revisions_while_publishing",
        _CONFIGURATION + "test_a_broken_revision_is_ignored_and_the_old_one_serves",
    ),
    "all providers down": (
        _DOWN + "test_with_all_providers_down_the_client_is_told_when_to_come_back_and_nobody_is_asked",
        _DOWN + "test_trying_anyway_is_one_attempt_each_and_never_more_at_once_than_the_cap",
        _DOWN + "test_trying_anyway_serves_as_soon_as_the_provider_is_back",
    ),
    "one of three providers killed and revived under load": (
        "faults/test_killed_provider.py::"
        "test_a_killed_provider_is_left_alone_by_both_processes_and_takes_its_share_again",
    ),
    "restart with open circuits, and with trials under way": (
        "faults/test_restarts.py::"
        "test_an_open_circuit_is_open_after_a_restart_and_is_tried_with_no_more_requests_than_it_has_slots",
        _CHANGES + "test_a_restart_of_the_installation_finds_circuits_open_and_tries_them_with_care",
    ),
    "publishing while providers are out": (
        _CHANGES + "test_changing_anything_else_and_publishing_keeps_circuits_quarantines_pins_and_counters",
    ),
    "two hosts on one Redis, and Redis away": (
        _HOSTS + "test_a_circuit_that_opens_on_one_host_is_open_on_the_other_before_it_has_seen_anything",
        _HOSTS + "test_of_fifty_requests_at_once_to_two_hosts_as_many_are_trials_as_there_are_slots",
        _HOSTS + "test_without_redis_each_host_acts_on_what_it_sees_says_so_and_they_agree_when_it_is_back",
    ),
    "half-open slots are never lost": (
        _HALF_OPEN + "test_what_says_nothing_of_the_target_gives_its_slot_back_and_changes_nothing",
        _HALF_OPEN + "test_clients_that_leave_give_their_slots_back_and_change_nothing",
        _HALF_OPEN + "test_slots_of_a_killed_process_are_free_for_the_one_that_is_left",
        _HALF_OPEN + "test_two_answers_close_it_whole_or_streamed_alike_and_one_failure_opens_it_again",
    ),
    "recovery without a stampede": (
        _HALF_OPEN + "test_of_fifty_requests_at_once_exactly_as_many_are_trials_as_there_are_slots",
        _DOWN + "test_a_provider_that_comes_back_takes_traffic_up_slowly",
        _SHARED + "test_half_open_slots_are_exact_over_both",
        _KILLED + "test_no_client_notices_that_the_chosen_provider_stops_and_it_comes_back_through_half_open",
    ),
    "providers at 50 % errors": (
        _CONNECTIONS + "test_retries_add_at_most_a_quarter_when_providers_fail_half_of_the_time",
    ),
    "one provider hangs": (
        _DOWN + "test_requests_to_others_are_answered_while_one_provider_hangs",
        _DOWN + "test_a_provider_that_hangs_costs_requests_one_attempt_until_its_circuit_opens",
    ),
    "kept-alive connection closed as we send": (
        _CONNECTIONS + "test_no_client_notices_that_kept_connections_die_at_random",
        _CONNECTIONS + "test_a_request_whose_fresh_connection_dies_too_has_failed",
        _ATTEMPTS + "test_a_kept_connection_that_dies_as_it_is_used_costs_no_attempt",
    ),
    "client leaves, and nothing leaks": (
        "faults/test_leaving.py::test_twenty_clients_leave_at_once_and_nothing_of_them_stays",
        _PROCESS + "test_a_client_that_leaves_mid_stream_is_recorded_and_the_upstream_let_go",
    ),
    "client does not read": (
        "faults/test_backpressure.py::test_what_is_kept_for_a_client_that_does_not_read_is_bounded",
        "faults/test_backpressure.py::test_twenty_clients_that_do_not_read_keep_nobody_else_waiting",
        _STREAMS + "test_a_client_that_is_slow_to_take_its_answer_does_not_make_us_ask_again",
    ),
    "malformed, deep and binary input": (
        _INPUT + "test_what_is_no_request_gets_a_4xx_in_the_clients_format_everywhere",
        _INPUT + "test_what_is_no_form_gets_a_400_in_the_clients_format",
        _INPUT + "test_members_of_the_wrong_kind_never_become_a_5xx_of_ours",
        _INPUT + "test_odd_addresses_and_methods_get_a_4xx",
        _EDGE + "test_ambiguous_framing_gets_400_and_never_reaches_a_route",
    ),
    "huge input": (
        _INPUT + "test_a_body_above_the_limit_gets_a_413_and_leaves_the_memory_flat",
        _EDGE + "test_headers_above_64_kb_get_431_and_the_connection_closes",
        _EDGE + "test_a_chunked_body_is_cut_off_at_the_limit",
    ),
    "slow input": (
        _EDGE + "test_slow_headers_get_408",
        _EDGE + "test_a_slow_body_gets_408_and_a_row_and_may_be_retried",
    ),
}
