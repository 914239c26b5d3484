//! What every runtime adapter must make of the transport: the same cases on tokio, async-std and smol, over real sockets.

mod calls;
mod connections;
mod failures;
mod runtimes;
mod server;
mod streams;
mod tls;
mod wire;

macro_rules! conformance {
    ($($group:ident { $($case:ident,)* })*) => {
        conformance!(@on tokio { $($group { $($case,)* })* });
        conformance!(@on async_std { $($group { $($case,)* })* });
        conformance!(@on smol { $($group { $($case,)* })* });
    };
    (@on $runtime:ident { $($group:ident { $($case:ident,)* })* }) => {
        mod $runtime {
            $($(
                #[test]
                fn $case() {
                    crate::runtimes::$runtime(crate::$group::$case);
                }
            )*)*
        }
    };
}

conformance! {
    calls {
        an_answer_arrives,
        deadline_and_metadata_are_sent,
        a_status_message_is_percent_decoded,
        trailers_only_is_a_status,
        what_is_not_a_grpc_answer_is_told_apart,
        large_messages_pass_both_ways,
        too_large_and_malformed_answers_are_refused,
        a_thousand_calls_share_two_connections,
        dropping_a_call_resets_it,
        thousands_of_withdrawn_calls_leave_the_connection_whole,
        the_limit_of_calls_under_way_holds,
    }
    failures {
        silence_ends_at_the_deadline,
        a_refused_connection_is_not_sent,
        a_full_backlog_ends_at_the_connect_timeout,
        a_server_without_greeting_is_not_sent,
        the_deadline_may_come_before_the_connection,
        garbage_instead_of_a_greeting_is_not_sent,
        garbage_instead_of_an_answer_is_lost,
        a_break_before_the_answer_is_lost,
        a_break_within_the_answer_is_lost,
        a_stream_refused_was_not_sent,
        a_stream_above_the_last_one_taken_was_not_sent,
        a_stream_that_was_taken_is_lost,
        a_bad_address_is_not_sent,
        attempts_pause_after_a_failure,
    }
    connections {
        goodbye_from_the_server_leads_to_a_new_connection,
        a_restarted_server_is_found_again,
        idle_connections_are_closed,
        a_silent_connection_is_given_up,
        pings_keep_a_slow_call_alive,
        disconnect_ends_calls_and_allows_new_ones,
        close_ends_everything,
        dropping_the_transport_ends_everything,
    }
    streams {
        echo_until_both_sides_finish,
        messages_pass_before_the_server_sends_headers,
        the_server_ends_with_a_status,
        dropping_a_stream_resets_it,
        a_break_within_a_stream_is_lost,
        a_server_that_does_not_read_stops_the_sender,
        opening_without_a_server_fails,
    }
    tls {
        tls_carries_calls,
        mutual_tls_shows_who_the_client_is,
        an_unknown_authority_is_refused,
        renewed_files_are_read,
    }
}
