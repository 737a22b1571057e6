//! The contracts of the ports, one test per sentence that can break.
//!
//! [`broker`], [`signals`] and [`clock`] are called by name. The rest is the store's: the traits in
//! `mainspring_engine::ports::store` say what a store promises; these functions hold every family to it.
//! Each takes a [`World`](world::World) with an empty store and a time that passes only when the test says so, and knows
//! nothing of the family behind it. A family runs all of them with [`conformance!`](crate::conformance).
//!
//! Names that begin with `v01_` or `f01_` are the traces of the verified rules (`docs/architecture.md`, "Leases").

pub mod auto_disable;
pub mod backfills;
pub mod backup;
pub mod broker;
pub mod calendars;
pub mod catalog;
pub mod clock;
pub mod dead;
pub mod delays;
pub mod edits;
pub mod expiry;
pub mod firing;
pub mod hello;
pub mod identity;
pub mod keys;
pub mod labels;
pub mod lapses;
pub mod leases;
pub mod lists;
pub mod logs;
pub mod namespaces;
pub mod outcomes;
pub mod overlap;
pub mod paces;
pub mod pending;
pub mod property;
pub mod queues;
pub mod release;
pub mod retention;
pub mod schedules;
pub mod signals;
pub mod sinks;
pub mod submit;
pub mod timers;
pub mod unique;
pub mod versions;
pub mod views;
pub mod world;

/// Makes a test of every case, for a family given by an expression.
#[macro_export]
macro_rules! conformance {
    ($family:expr) => {
        $crate::conformance_cases!($family;
            catalog: created_jobs_read_back, a_name_is_taken_once, a_repeated_create_is_replayed,
                another_body_under_the_same_id_is_refused, namespaces_do_not_see_each_other,
                a_job_is_found_by_its_identity_after_its_end, the_default_namespace_is_there_from_the_start;
            namespaces: a_namespace_that_is_named_comes_to_be, a_namespace_is_changed_from_what_it_was;
            backfills: what_has_passed_becomes_runs_a_few_at_a_time, the_newest_come_first_where_that_is_asked,
                a_step_that_was_overtaken_does_nothing, what_has_its_run_is_passed_over,
                a_pause_holds_it_up_unless_it_says_otherwise, one_that_waits_leaves_the_slot_to_others,
                one_that_waits_by_its_key_waits_for_all_of_its_runs, its_runs_are_told_what_succeeded_before_them,
                it_is_cancelled_as_a_whole, a_deleted_job_has_its_backfills_cancelled, a_repeated_request_begins_it_once,
                backfills_are_listed_newest_first_and_are_so_many, a_template_is_kept_and_filled_in, each_run_has_the_key_of_its_payload,
                failures_of_a_backfill_pause_nobody, runs_of_an_open_backfill_are_kept;
            calendars: versions_that_nobody_counted_with_go, calendars_read_back_by_name, what_a_calendar_holds_makes_no_run, people_see_the_next_instant_that_fires,
                a_change_makes_a_version_of_each_job_that_uses_it, jobs_follow_a_change_in_steps, a_calendar_that_holds_everything_brings_a_job_to_error,
                a_calendar_that_is_used_is_not_deleted, a_definition_counts_with_the_calendar_in_force,
                a_job_comes_back_with_the_calendar_in_force;
            sinks: sinks_read_back_by_name, a_sink_is_made_once, there_are_so_many_sinks_and_no_more,
                a_run_that_dies_is_told_to_whom_it_may_concern, other_ends_are_told_to_nobody,
                instants_that_are_lost_are_told_as_ranges, a_schedule_that_fails_is_told, a_job_that_a_calendar_starves_is_told,
                a_job_that_is_paused_by_itself_is_told, what_is_due_comes_in_turn_and_a_few_of_each_sink,
                what_was_given_up_can_be_begun_anew, a_receiver_that_is_gone_disables_its_sink,
                what_is_too_much_is_counted_and_not_kept, what_is_over_goes_and_so_does_what_is_left_of_a_sink;
            edits: an_edit_makes_a_version, an_edit_of_a_completed_job_leaves_it_so, an_equal_definition_changes_nothing,
                a_stale_revision_is_refused, an_unsettled_job_is_not_changed, an_edit_keeps_cursor_and_open_range,
                a_schedule_that_is_gone_keeps_its_ledger, a_pause_shows_and_lifts, a_deleted_name_is_free,
                waiting_runs_of_a_deleted_job_end, only_what_waits_of_the_deleted_job_ends, what_is_at_a_worker_finishes_and_starts_no_more_once_its_job_is_deleted,
                a_delete_may_stop_what_is_at_workers, a_pause_may_cancel_what_is_not_over,
                a_paused_job_in_error_resumes_in_error;
            submit: a_run_reads_back, an_answer_is_what_a_look_shows, later_runs_are_scheduled,
                an_answer_means_committed, repeats_are_replayed, other_bodies_are_refused,
                what_a_request_made_is_found_again, repeats_in_one_batch_meet, ids_of_calls_and_namespaces_do_not_meet,
                a_batch_tried_again_stores_once, a_deleted_job_makes_no_runs, only_if_idle_finds_the_run,
                only_if_idle_counts_the_same_batch, large_payloads_read_back, many_runs_in_one_batch,
                concurrent_callers_all_get_their_own, every_request_has_its_own_run;
            unique: a_key_is_held_until_its_run_is_over, a_window_outlives_its_run, what_waits_is_replaced,
                runs_of_one_batch_meet, a_request_is_answered_alike_whatever_becomes_of_the_key,
                a_batch_with_keys_tried_again_stores_once, a_run_that_is_made_again_keeps_the_key,
                claims_go_once_they_stand_no_longer;
            keys: a_key_lets_so_many_go, a_full_key_holds_up_nobody_else, the_best_of_a_key_goes_first,
                every_end_makes_room_under_a_key, an_expired_attempt_holds_its_place, parked_runs_live_like_others,
                later_runs_wait_for_room_when_their_time_comes, what_was_said_last_is_the_limit,
                runs_of_a_schedule_have_the_key_of_their_job, keys_of_schedules_are_made_of_their_jobs,
                a_job_whose_key_has_nothing_to_be_made_of_is_not_fired, keys_that_no_run_names_go, lanes_share_a_key,
                a_limit_holds_and_room_is_used_whatever_happens;
            paces: a_key_goes_as_fast_as_it_may, lanes_share_a_rate, an_attempt_that_never_began_is_not_counted,
                a_lost_run_goes_on_and_is_made_up_for, what_was_said_last_is_the_rate,
                a_key_without_its_rate_has_the_limit_of_every_key, what_a_key_has_gone_is_not_forgotten,
                a_rate_holds_and_tokens_are_used_whatever_happens;
            firing: f01_an_old_owner_commits_nothing, f01_a_cursor_never_goes_back, f02_retention_keeps_a_named_instant,
                f03_a_second_schedule_is_united, f04_an_edit_stops_the_old_rule, f04_a_pause_stops_a_firing,
                f05_a_refused_owner_fires_again_under_its_new_epoch, a_firing_makes_a_queued_run, firing_twice_fires_once,
                overlap_skips_while_a_run_is_not_over, overlap_counts_the_same_firing, a_ledger_is_read_as_it_was_at_one_moment, paused_instants_get_their_fate, a_pause_ends_by_itself_on_time, a_pause_is_caught_up_with,
                what_an_edit_came_after_is_not_caught_up_with, late_runs_are_due_at_their_pace,
                ledger_ranges_join_and_close, a_last_instant_completes_the_job, a_schedule_that_fails_harms_no_other,
                next_due_is_the_earliest, jobs_of_one_instant_fire_apart, a_deleted_job_fires_no_more, the_longest_due_fire_first, what_is_on_time_comes_before_what_is_behind, an_error_stays_when_the_last_instant_has_fired, a_firing_with_too_few_ids_is_refused_whole;
            schedules: a_spread_run_waits_for_its_time, a_schedule_is_done_with_its_last_run, what_became_no_run_does_not_count,
                handlers_are_told_the_last_instant_that_succeeded, a_one_shot_that_has_passed_fires_late_and_once, a_completed_job_expires_once_its_runs_are_over,
                what_a_clock_change_takes_is_kept_by_the_change;
            labels: what_requires_labels_waits_in_a_lane_of_its_own, runs_of_a_schedule_require_what_their_job_does,
                wait_facts_tell_who_has_not_the_labels;
            delays: the_next_instant_follows_the_end_of_the_run, an_end_is_that_of_the_whole_run_whatever_it_is,
                what_passes_while_nobody_is_there_is_one_late_run_or_none, an_instant_without_a_run_is_followed_by_another,
                a_pause_goes_on_by_the_delay, a_delayed_schedule_comes_to_its_end, an_edit_keeps_what_a_delay_counts_from,
                a_delayed_start_that_an_edit_drops_is_counted_from;
            pending: pending_starts_stay_unless_an_edit_says_otherwise, dropped_starts_are_superseded,
                starts_of_a_schedule_that_is_gone_are_dropped_too, recomputed_starts_begin_by_the_new_definition,
                starts_that_a_calendar_leaves_out_from_now_on_are_dropped, what_waits_for_another_is_pending_as_well;
            overlap: the_newest_waits, all_wait_for_their_turn_up_to_the_most, others_are_cancelled_for_the_new_one,
                so_many_run_at_once, a_run_that_waits_for_a_retry_holds_the_slot, a_trigger_meets_the_policy_too,
                what_is_apart_holds_no_slot, a_run_that_waits_can_be_cancelled, nobody_is_let_go_twice,
                slots_come_by_job_and_whole, jobs_that_share_a_key_share_a_slot, keys_that_are_made_alike_share_a_slot,
                who_waits_for_a_key_waits_for_all_of_its_runs;
            release: the_best_come_first, runs_of_one_instant_come_by_id, a_round_goes_on_where_it_was, what_is_known_is_passed_over,
                pieces_make_up_the_whole, lanes_do_not_mix, leased_runs_are_not_offered, the_limit_holds;
            leases: a_lease_carries_the_run, a_second_lease_is_stale, a_lease_under_an_old_generation_is_stale,
                v11_a_lease_under_an_old_epoch_changes_nothing, v12_a_repeated_lease_answers_leased,
                v12_a_repeat_after_a_requeue_is_stale, at_most_once_is_running_at_once, the_attempt_grows_by_one,
                a_lost_attempt_is_charged_at_the_next_lease, one_batch_of_many_owners, a_cancelled_run_is_not_leased, a_lease_leaves_nothing_of_the_stay_before;
            hello: an_older_stream_is_superseded, listed_attempts_are_kept, expired_attempts_are_adopted,
                moved_on_attempts_are_abandoned, unlisted_leases_are_returned, unlisted_running_attempts_are_lost,
                stops_are_told, a_drain_survives_a_reconnect, reconcile_needs_the_owner, reconcile_takes_nothing_back,
                another_namespaces_attempts_are_unknown, a_worker_does_not_move_to_another_namespace, a_later_hello_replaces_what_a_worker_is, the_last_word_on_a_job_type_counts, payloads_are_held_against_what_is_announced, only_a_worker_that_is_there_is_drained, an_attempt_is_abandoned_for_its_own_reason, nobody_takes_up_anothers_attempt;
            expiry: renewals_answer_by_owner, renewals_record_what_workers_say_of_themselves,
                renewals_tell_what_an_operator_asked, a_renewal_after_judgement_is_lapsed, expired_runs_wait_again,
                expiry_goes_on_in_steps, who_becomes_lost_is_told_once, a_renewed_worker_is_not_judged, the_last_loss_decides_at_once,
                a_lease_to_a_judged_worker_expires_too, a_worker_that_left_stays_gone, stops_name_only_current_owners, only_the_silent_worker_is_judged, the_longest_silent_are_judged_first, the_dead_do_not_hide_the_dying, a_lease_that_was_over_is_not_lengthened_by_leaving, what_was_adopted_after_judgement_expires_too, a_renewal_changes_no_more_than_it_says, a_step_is_as_large_as_was_asked;
            outcomes: success_ends_the_run, v01_a_repeated_failure_is_charged_once, v02_a_repeated_result_is_a_duplicate,
                a_fenced_result_changes_nothing, a_result_of_another_namespace_is_fenced, outputs_read_back, told_log_lines_are_kept,
                one_batch_applies_in_order, failures_retry_then_fail, v05_a_cancel_is_folded_into_a_failure,
                cancelling_what_waits_ends_it, cancelling_twice_keeps_the_first, an_event_of_an_old_owner_is_refused,
                an_event_of_another_namespace_is_missing, a_late_result_beats_the_queue, mixed_batches_apply_each_item, a_success_beats_a_stop, a_repeat_is_known_by_run_and_attempt;
            auto_disable: so_many_failures_in_a_row_pause_a_job, a_success_begins_the_row_anew_and_a_cancel_does_not_count,
                what_failed_before_the_window_does_not_count, a_resume_begins_the_row_anew,
                a_job_that_says_so_is_never_paused_by_itself;
            dead: what_dies_alike_has_one_fingerprint, only_what_failed_or_took_too_long_is_dead, groups_come_by_their_last_end,
                jobs_die_apart, a_verdict_is_said_of_what_it_can_be_said_of, a_dead_letter_is_made_again_once,
                what_cannot_be_made_again_stays_open, an_open_dead_letter_outlives_a_settled_one;
            queues: a_rate_is_told_and_lifted, a_limit_is_never_exceeded, nothing_is_adopted_beyond_the_limit, a_limit_counts_what_was_there, every_end_makes_room,
                a_paused_queue_leases_nothing, settings_need_the_revision, a_queue_is_known_once_it_was_named,
                what_is_only_asked_for_changes_nothing, a_namespace_has_so_many_queues_and_no_more, a_namespace_has_so_many_lanes_and_no_more, restricted_queues_are_listed,
                lifting_a_limit_opens_the_queue, what_moved_on_is_stale_even_where_there_is_no_room,
                levels_are_of_every_queue_that_holds_something, a_store_that_is_well_answers_and_nothing_waits;
            timers: waking_moves_due_runs, waking_is_earliest_first, waking_reads_jobs_and_lets_nothing_of_a_deleted_one_start, deadlines_are_found, an_execution_timeout_stops_then_ends,
                a_queue_timeout_ends_the_run, next_deadline_is_the_earliest;
            logs: lines_read_back_in_order, lines_sent_again_are_stored_once, overlapping_batches_keep_what_is_new,
                a_gap_is_refused, told_drops_are_counted, the_reach_of_a_log_counts_what_was_dropped,
                an_offset_beyond_counting_harms_nobody, too_many_lines_leave_a_marker, too_many_bytes_leave_a_marker,
                levels_and_positions_narrow, reading_goes_on_in_the_midst_of_a_batch, other_namespaces_read_nothing, attempts_are_apart;
            lists: full_runs_stop_at_their_bytes, only_the_last_failure_of_a_run_is_read, attempts_stop_at_their_bytes,
                jobs_go_by_name_or_by_age, filters_narrow_queues, filters_narrow_workers, job_types_stop_at_their_bytes,
                filters_narrow_keys;
            backup: a_copy_is_private_and_tells_how_far_it_is,
                a_copy_overwrites_nothing_and_says_why_it_cannot_be_written, a_copy_that_is_let_go_of_leaves_nothing;
            views: runs_page_by_key, runs_are_found_by_the_worker_they_are_at, filters_narrow_runs, a_name_finds_the_runs_of_every_job_that_had_it, filters_narrow_jobs, absent_fields_compare_as_false, details_only_where_asked,
                attempts_tell_the_whole_story, workers_are_listed, job_types_show_drift, queues_are_counted, stats_count,
                wait_facts_tell_why, ledger_ranges_carry_their_rule, a_long_ledger_is_read_in_parts, last_success_is_the_newest;
            lapses: an_edit_keeps_what_it_took, what_goes_on_as_it_is_is_not_taken,
                a_delete_takes_what_it_does_until_the_job_is_back, what_was_taken_goes_with_the_ledger_and_with_its_job;
            versions: definitions_are_listed_newest_first_and_read_back, a_job_that_is_brought_back_goes_on_from_now,
                a_name_that_is_taken_brings_nothing_back, a_job_whose_runs_are_being_ended_is_not_brought_back_yet,
                a_job_that_its_completion_deleted_comes_back_to_stay, a_job_comes_back_paused_or_completed_as_it_went;
            identity: root_is_claimed_until_it_has_a_password_of_its_own, passwords_replace_and_end_sessions, refresh_replaces_the_token,
                a_reused_token_ends_the_session, unknown_and_ended_sessions_are_told_apart, keys_live_and_die,
                keys_page_newest_first, a_repeated_key_is_replayed, touching_a_key_is_cheap,
                sessions_do_not_touch_each_other, a_password_that_was_changed_meanwhile_opens_and_changes_nothing;
            retention: ended_runs_go_after_their_time, failures_may_be_kept_for_less, an_id_made_ahead_of_time_keeps_nothing, unfinished_runs_stay, a_sweep_is_bounded, a_round_begins_anew,
                ledger_requests_and_workers_go, logs_go, a_round_goes_past_what_stays, young_runs_cost_a_sweep_nothing, what_is_young_stays, a_ledger_range_is_as_old_as_its_last_instant, only_dead_workers_that_were_judged_go, a_deleted_job_stays_while_anything_is_of_it, a_job_does_not_go_before_its_ledger, what_nobody_uses_any_more_goes, schemas_go_with_their_type, what_is_named_now_and_then_stays, logs_go_by_attempt;
            property: the_store_agrees_with_the_table, batches_agree_with_the_table,
                batches_of_a_key_agree_with_the_table;
        );
    };
}

/// The expansion of [`conformance!`](crate::conformance).
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($family:expr; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            #[allow(unused_imports, reason = "the family may be an expression without names")]
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let world = $crate::conformance::world::World::new(&$family).await;
                $crate::conformance::$module::$case(world).await;
            })+
        })+

        #[test]
        fn every_case_is_listed() {
            $({
                let source = $crate::conformance::source(stringify!($module));
                let listed: &[&str] = &[$(stringify!($case)),+];
                let mut written: Vec<&str> = source
                    .lines()
                    .filter_map(|line| line.strip_prefix("pub async fn "))
                    .filter_map(|rest| rest.split('(').next())
                    .collect();
                written.retain(|case| !listed.contains(case));
                assert!(written.is_empty(), "{} has cases that nobody runs: {written:?}", stringify!($module));
            })+
        }
    };
}

/// The source of a module of this suite, for the test that no case was forgotten.
#[doc(hidden)]
pub fn source(module: &str) -> &'static str {
    macro_rules! sources {
        ($($name:ident)+) => {
            match module {
                $(stringify!($name) => include_str!(concat!("conformance/", stringify!($name), ".rs")),)+
                other => panic!("no module {other}"),
            }
        };
    }
    sources!(auto_disable backfills backup calendars catalog dead delays edits expiry firing hello identity keys labels lapses leases lists logs namespaces outcomes overlap paces pending property queues release retention schedules sinks submit timers unique versions views)
}
