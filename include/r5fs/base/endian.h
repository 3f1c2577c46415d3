/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Little-endian integers as they stand on disk. Only *_format.h headers hold these types, so that a
 * raw disk value cannot be used as a number by accident. They have alignment 1 and no padding.
 */
#ifndef R5FS_BASE_ENDIAN_H
#define R5FS_BASE_ENDIAN_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define R5_LE_TYPE(bits)                                         \
    typedef struct {                                             \
        uint8_t bytes[(bits) / 8];                               \
    } le##bits;                                                  \
    static inline uint##bits##_t le##bits##_get(le##bits value)  \
    {                                                            \
        uint##bits##_t raw;                                      \
        memcpy(&raw, value.bytes, sizeof(raw));                  \
        return le##bits##toh(raw);                               \
    }                                                            \
    static inline le##bits le##bits##_make(uint##bits##_t value) \
    {                                                            \
        uint##bits##_t raw = htole##bits(value);                 \
        le##bits made;                                           \
        memcpy(made.bytes, &raw, sizeof(raw));                   \
        return made;                                             \
    }

R5_LE_TYPE(16)
R5_LE_TYPE(32)
R5_LE_TYPE(64)

_Static_assert(sizeof(le16) == 2 && sizeof(le32) == 4 && sizeof(le64) == 8, "no padding");

#endif
