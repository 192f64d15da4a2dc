/* INCRBYFLOAT and HINCRBYFLOAT calculate in the C compiler's long double (80 bits on x86-64) and
 * clients see the digits it gives. Rust has no such type, so these functions do the work on
 * 16 opaque bytes. They keep no pointer and touch nothing but their arguments. */

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(long double) <= 16, "the opaque 16 bytes must hold a long double");

static long double load(const unsigned char *from) {
    long double value;
    memcpy(&value, from, sizeof value);
    return value;
}

static void store(unsigned char *to, long double value) {
    memset(to, 0, 16);
    memcpy(to, &value, sizeof value);
}

/* text[len] must be 0. Returns 1 when all of text is one number that is not out of range. */
int forgekv_ld_parse(const char *text, size_t len, unsigned char *out) {
    char *end;
    errno = 0;
    long double value = strtold(text, &end);
    if ((size_t)(end - text) != len || isnan(value)) return 0;
    if (errno == ERANGE && (isinf(value) || value == 0)) return 0;
    store(out, value);
    return 1;
}

void forgekv_ld_add(const unsigned char *a, const unsigned char *b, unsigned char *sum) {
    store(sum, load(a) + load(b));
}

void forgekv_ld_subtract(const unsigned char *a, const unsigned char *b, unsigned char *difference) {
    store(difference, load(a) - load(b));
}

/* -1, 0 or 1; 2 when one of them is NaN. */
int forgekv_ld_compare(const unsigned char *a, const unsigned char *b) {
    long double x = load(a), y = load(b);
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
}

void forgekv_ld_max(unsigned char *out) { store(out, LDBL_MAX); }

int forgekv_ld_finite(const unsigned char *a) { return isfinite(load(a)) ? 1 : 0; }

/* Writes at most cap bytes, the closing 0 among them, and returns the length without it; as
 * snprintf, a length of cap or more means that it did not fit. */
int forgekv_ld_format(const unsigned char *a, char *out, size_t cap) {
    return snprintf(out, cap, "%.17Lf", load(a));
}
