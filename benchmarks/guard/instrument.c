/* Starts and ends callgrind's counting from Python. Outside of valgrind both do nothing. */
#include <valgrind/callgrind.h>

void guarded_start(void) {
    CALLGRIND_START_INSTRUMENTATION;
    CALLGRIND_ZERO_STATS;
}

void guarded_stop(const char* name) {
    CALLGRIND_DUMP_STATS_AT(name);
    CALLGRIND_STOP_INSTRUMENTATION;
}
