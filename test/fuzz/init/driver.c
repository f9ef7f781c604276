/*
 * Runs a target where there is no libFuzzer: gcc has sanitizers and tells of each branch, but has no fuzzer. Cases are
 * mutated from a corpus, which a case joins if it reaches code that none before it has reached. All is decided by the seed.
 *
 *   PROGRAM --cases N --seconds S --seed N CORPUS    lines of the file CORPUS: a script in hex, or a comment behind #
 *   PROGRAM --input HEX                              one case
 *
 * On stdout: cases, seconds, size of the corpus, branches reached. A case that fails is printed in hex.
 */
#include "fuzz.h"

#include <sanitizer/common_interface_defs.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MAX_SCRIPT_BYTES 160
#define MAX_CORPUS 4096
#define BRANCHES (1 << 16)

struct input {
    size_t size;
    uint8_t bytes[MAX_SCRIPT_BYTES];
};

static struct input corpus[MAX_CORPUS], current;
static size_t corpus_size;
static uint8_t reached[BRANCHES], reached_now[BRANCHES];
static uint32_t touched[BRANCHES];
static size_t touched_count, reached_count;
static uint64_t state;

/* gcc calls it at each branch of code that is compiled with -fsanitize-coverage=trace-pc; here it must not be. */
void __sanitizer_cov_trace_pc(void);
__attribute__((no_sanitize("address", "undefined"))) void __sanitizer_cov_trace_pc(void)
{
    uint32_t branch = (uint32_t)((uintptr_t)__builtin_return_address(0) * 0x9E3779B1u) >> 16;
    if (reached_now[branch] == 0)
        touched[touched_count++] = branch;
    if (reached_now[branch] < UINT8_MAX)
        reached_now[branch]++;
}

/* xorshift64*: the same on every machine. */
static uint64_t next_random(void)
{
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 2685821657736338717u;
}

static size_t below(size_t limit)
{
    return (size_t)((next_random() >> 32) * limit >> 32);
}

static void print_case(void)
{
    static const char digits[] = "0123456789abcdef";
    char hex[2 * MAX_SCRIPT_BYTES + 1];
    for (size_t i = 0; i < current.size; i++) {
        hex[2 * i] = digits[current.bytes[i] >> 4];
        hex[2 * i + 1] = digits[current.bytes[i] & 15];
    }
    dprintf(2, "the case: --input %.*s\n", (int)(2 * current.size), hex);
}

static void on_abort(int signal_number)
{
    (void)signal_number;
    print_case();
    _exit(1);
}

static int digit(char letter)
{
    const char *digits = "0123456789abcdef", *found = letter == '\0' ? NULL : strchr(digits, letter);
    return found == NULL ? -1 : (int)(found - digits);
}

static void read_hex(const char *hex, struct input *input)
{
    input->size = 0;
    for (; input->size < MAX_SCRIPT_BYTES && digit(hex[0]) >= 0 && digit(hex[1]) >= 0; hex += 2)
        input->bytes[input->size++] = (uint8_t)(digit(hex[0]) << 4 | digit(hex[1]));
}

static void read_corpus(const char *path)
{
    static char line[2 * MAX_SCRIPT_BYTES + 2];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        perror(path);
        exit(2);
    }
    while (fgets(line, sizeof line, file) != NULL && corpus_size < MAX_CORPUS)
        if (digit(line[0]) >= 0)
            read_hex(line, &corpus[corpus_size++]);
    fclose(file);
}

static void replace(size_t at, size_t removed, const uint8_t *bytes, size_t count)
{
    if (removed > current.size - at)
        removed = current.size - at;
    if (count > MAX_SCRIPT_BYTES - (current.size - removed))
        count = MAX_SCRIPT_BYTES - (current.size - removed);
    memmove(current.bytes + at + count, current.bytes + at + removed, current.size - at - removed);
    memmove(current.bytes + at, bytes, count);
    current.size += count;
    current.size -= removed;
}

/* Scripts are of steps of some bytes each: what stands at one place makes sense at most others. */
static void mutate(void)
{
    uint8_t random[16];
    size_t at = below(current.size + 1), count = 1 + below(sizeof random);
    for (size_t i = 0; i < count; i++)
        random[i] = (uint8_t)next_random();
    switch (below(6)) {
    case 0:
        replace(at, 1, random, 1);
        break;
    case 1:
        replace(at, 0, random, count);
        break;
    case 2:
        replace(at, count, random, 0);
        break;
    case 3:
        if (at < current.size)
            current.bytes[at] ^= (uint8_t)(1 << below(8));
        break;
    case 4:
        if (at < current.size)
            current.bytes[at] = (uint8_t)(current.bytes[at] + (below(2) ? 1 : -1));
        break;
    default: {
        const struct input *other = &corpus[below(corpus_size)];
        size_t from = below(other->size + 1);
        replace(at, below(2) ? count : 0, other->bytes + from, below(other->size - from + 1));
    }
    }
}

static void make_case(void)
{
    current = corpus[below(corpus_size)];
    for (size_t left = 1 + below(6); left > 0; left--)
        mutate();
}

/* How often a branch was taken, as one bit: once, twice, up to 4, 8, 16, 32, 128, more. */
static uint8_t bucket(uint8_t count)
{
    static const uint8_t limits[] = {1, 2, 4, 8, 16, 32, 128};
    size_t i = 0;
    while (i < sizeof limits && count > limits[i])
        i++;
    return (uint8_t)(1 << i);
}

/* Whether it reached what none before it has reached, or reached it as often. */
static int run_case(void)
{
    int is_new = 0;
    /* Of its own size, so that reading past it is seen. */
    uint8_t *copy = malloc(current.size + (current.size == 0));
    memcpy(copy, current.bytes, current.size);
    LLVMFuzzerTestOneInput(copy, current.size);
    free(copy);
    for (size_t i = 0; i < touched_count; i++) {
        uint8_t bit = bucket(reached_now[touched[i]]), *known = &reached[touched[i]];
        reached_now[touched[i]] = 0;
        reached_count += *known == 0;
        is_new |= (*known & bit) == 0;
        *known |= bit;
    }
    touched_count = 0;
    return is_new;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

int main(int count, char **arguments)
{
    unsigned long long cases = 1, seed = 1, done = 0;
    double limit = 1e9, begun = seconds();
    signal(SIGABRT, on_abort);
    __sanitizer_set_death_callback(print_case);
    if (count == 3 && strcmp(arguments[1], "--input") == 0) {
        read_hex(arguments[2], &current);
        run_case();
        return 0;
    }
    if (count != 8) {
        fprintf(stderr, "--cases N --seconds S --seed N CORPUS, or --input HEX\n");
        return 2;
    }
    for (int i = 1; i + 1 < 7; i += 2) {
        if (strcmp(arguments[i], "--cases") == 0)
            cases = strtoull(arguments[i + 1], NULL, 10);
        else if (strcmp(arguments[i], "--seconds") == 0)
            limit = strtod(arguments[i + 1], NULL);
        else if (strcmp(arguments[i], "--seed") == 0)
            seed = strtoull(arguments[i + 1], NULL, 10);
    }
    read_corpus(arguments[7]);
    corpus_size += corpus_size == 0;
    state = seed * 0x9E3779B97F4A7C15u + 1;
    for (size_t i = 0, given = corpus_size; i < given && done < cases; i++, done++) {
        current = corpus[i];
        run_case();
    }
    for (; done < cases && (done % 1024 != 0 || seconds() - begun < limit); done++) {
        make_case();
        if (run_case() && corpus_size < MAX_CORPUS)
            corpus[corpus_size++] = current;
    }
    printf("%llu %.1f %zu %zu\n", done, seconds() - begun, corpus_size, reached_count);
    return 0;
}
