/*
 * Loaded dice for turnutils_uclient 4.6.1, by LD_PRELOAD.
 *
 * It throws its channel numbers with 8 random bytes, n, as 0x4000 + n % 0x4000: the range of RFC 5766. RFC 8656 gives
 * channels 0x4000 to 0x4FFF and has the server refuse the rest with 400, three throws of four. Clearing two bits of n
 * keeps the client to the newer range and changes nothing else of it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>

int RAND_bytes(unsigned char *buf, int num) {
	static int (*real)(unsigned char *, int);
	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "RAND_bytes");
	if (real == NULL)
		return 0;
	int ok = real(buf, num);
	if (num == sizeof(long))
		buf[1] &= 0xCF; /* of a little-endian long: bits 12 and 13 */
	return ok;
}
