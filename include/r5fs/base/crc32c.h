/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) through ISA-L, with the start value given
 * by the caller and no inversion before or after: the form md's log uses.
 * crc32c(~0, "123456789", 9) is 0x1cf96d7c; its complement is the usual check value e3069283.
 */
#ifndef R5FS_BASE_CRC32C_H
#define R5FS_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t seed, const void *data, size_t bytes);

#endif
