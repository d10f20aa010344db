package media

import (
	"encoding/binary"
	"math"
)

// Packet types of RTCP (RFC 3550 section 12.1).
const (
	typeSR   = 200
	typeRR   = 201
	typeSDES = 202
	typeBYE  = 203
)

const (
	rtcpHeader  = 8  // with the first SSRC, in bytes
	senderInfo  = 20 // in bytes
	blockLength = 24 // of a report block, in bytes
	itemCNAME   = 1
)

// reportBlock is one reception report (RFC 3550 section 6.4.1).
type reportBlock struct {
	ssrc     uint32 // the source that is reported on
	fraction uint8  // lost since the last report, in 256ths
	lost     int32  // lost in all, 24 bits
	highest  uint32 // extended highest sequence number
	jitter   uint32 // in clock ticks
	lsr      uint32 // middle of the last sender report's NTP time; 0 for none
	dlsr     uint32 // since then, in 65536ths of a second
}

// senderReport is a sender report's own part.
type senderReport struct {
	ntp       uint64
	timestamp uint32
	packets   uint32
	bytes     uint32
}

// appendReport appends a sender report, or a receiver report if sr is nil, with
// at most one block.
func appendReport(dst []byte, ssrc uint32, sr *senderReport, block *reportBlock) []byte {
	kind, count, length := byte(typeRR), byte(0), rtcpHeader
	if sr != nil {
		kind, length = typeSR, length+senderInfo
	}
	if block != nil {
		count, length = 1, length+blockLength
	}
	dst = appendRTCPHeader(dst, count, kind, length)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	if sr != nil {
		dst = binary.BigEndian.AppendUint64(dst, sr.ntp)
		dst = binary.BigEndian.AppendUint32(dst, sr.timestamp)
		dst = binary.BigEndian.AppendUint32(dst, sr.packets)
		dst = binary.BigEndian.AppendUint32(dst, sr.bytes)
	}
	if block != nil {
		dst = binary.BigEndian.AppendUint32(dst, block.ssrc)
		dst = binary.BigEndian.AppendUint32(dst, uint32(block.fraction)<<24|uint32(block.lost)&0xffffff)
		dst = binary.BigEndian.AppendUint32(dst, block.highest)
		dst = binary.BigEndian.AppendUint32(dst, block.jitter)
		dst = binary.BigEndian.AppendUint32(dst, block.lsr)
		dst = binary.BigEndian.AppendUint32(dst, block.dlsr)
	}
	return dst
}

// appendCNAME appends a source description with the one item that every compound
// packet has to have (RFC 3550 section 6.5.1). The item list ends with at least
// one zero byte, at a 32-bit boundary.
func appendCNAME(dst []byte, ssrc uint32, cname string) []byte {
	items := 2 + len(cname)
	pad := 4 - items%4
	dst = appendRTCPHeader(dst, 1, typeSDES, rtcpHeader+items+pad)
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = append(dst, itemCNAME, byte(len(cname)))
	dst = append(dst, cname...)
	return append(dst, "\x00\x00\x00\x00"[:pad]...)
}

// appendBYE appends the end of a source.
func appendBYE(dst []byte, ssrc uint32) []byte {
	dst = appendRTCPHeader(dst, 1, typeBYE, rtcpHeader)
	return binary.BigEndian.AppendUint32(dst, ssrc)
}

// appendRTCPHeader appends the first word; length is the packet's, in bytes.
func appendRTCPHeader(dst []byte, count, kind byte, length int) []byte {
	return binary.BigEndian.AppendUint16(append(dst, 2<<6|count, kind), uint16(length/4-1))
}

// clampLost fits a cumulative loss into its 24 bits (RFC 3550 A.3).
func clampLost(lost int64) int32 {
	return int32(max(min(lost, 1<<23-1), -1<<23))
}

// validRTCP checks a packet as RFC 3550 A.2 does: a report first, without padding,
// and lengths that add up. With reduced, any packet may be the first (RFC 5506
// section 3.4). It also holds each packet to what it announces, and padding to its
// own length.
func validRTCP(b []byte, reduced bool) bool {
	if len(b) < rtcpHeader || !reduced && (b[1] != typeSR && b[1] != typeRR || b[0]&0x20 != 0) {
		return false
	}
	for len(b) > 0 {
		if len(b) < 4 || b[0]>>6 != 2 || !isRTCPType(b[1]) {
			return false
		}
		length := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
		if length > len(b) {
			return false
		}
		end := length
		if b[0]&0x20 != 0 {
			pad := int(b[length-1])
			if length != len(b) || pad == 0 || pad%4 != 0 {
				return false // only the last packet may be padded (section 6.4.1)
			}
			end -= pad
		}
		if end < leastLength(b) {
			return false
		}
		b = b[length:]
	}
	return true
}

// leastLength is how long a packet has to be for what it announces, in bytes and
// without padding.
func leastLength(b []byte) int {
	if length := reportLength(b); length != 0 {
		return length
	}
	count := int(b[0] & 0x1f)
	switch b[1] {
	case typeSDES:
		return 4 + 8*count // a chunk is an SSRC and an empty list at least
	case typeBYE:
		return 4 + 4*count
	}
	return 4
}

// reportLength is how long a report has to be for the blocks that it announces,
// in bytes; 0 for other packets.
func reportLength(b []byte) int {
	blocks := blockLength * int(b[0]&0x1f)
	switch b[1] {
	case typeSR:
		return rtcpHeader + senderInfo + blocks
	case typeRR:
		return rtcpHeader + blocks
	}
	return 0
}

// hasBYE says whether a valid packet tells that a source ends.
func hasBYE(b []byte, ssrc uint32) bool {
	for len(b) > 0 {
		length := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
		if b[1] == typeBYE {
			for sources := b[4 : 4+4*int(b[0]&0x1f)]; len(sources) > 0; sources = sources[4:] {
				if binary.BigEndian.Uint32(sources) == ssrc {
					return true
				}
			}
		}
		b = b[length:]
	}
	return false
}

// reports calls report for each sender or receiver report of a valid packet. ntp is the middle 32 bits of a sender report's time, 0 in a receiver
// report; blocks holds the report blocks.
func reports(b []byte, report func(ssrc, ntp uint32, blocks []byte)) {
	for len(b) > 0 {
		length := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
		switch end := reportLength(b); b[1] {
		case typeSR:
			report(binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[10:]), b[rtcpHeader+senderInfo:end])
		case typeRR:
			report(binary.BigEndian.Uint32(b[4:]), 0, b[rtcpHeader:end])
		}
		b = b[length:]
	}
}

// findBlock finds the block that reports on a source.
func findBlock(blocks []byte, ssrc uint32) (r reportBlock, ok bool) {
	for ; len(blocks) >= blockLength; blocks = blocks[blockLength:] {
		if binary.BigEndian.Uint32(blocks) != ssrc {
			continue
		}
		word := binary.BigEndian.Uint32(blocks[4:])
		return reportBlock{
			ssrc:     ssrc,
			fraction: uint8(word >> 24),
			lost:     int32(word<<8) >> 8, // 24 bits, with their sign
			highest:  binary.BigEndian.Uint32(blocks[8:]),
			jitter:   binary.BigEndian.Uint32(blocks[12:]),
			lsr:      binary.BigEndian.Uint32(blocks[16:]),
			dlsr:     binary.BigEndian.Uint32(blocks[20:]),
		}, true
	}
	return reportBlock{}, false
}

// ntpTime turns nanoseconds since the Unix epoch into NTP's 32.32 seconds since
// 1900 (RFC 3550 section 4). The seconds wrap in 2036, as everybody's do.
func ntpTime(unix int64) uint64 {
	const toUnix = 2208988800 // seconds from 1900 to 1970
	seconds, nanos := uint64(unix/1e9)+toUnix, uint64(unix%1e9)
	return seconds<<32 | nanos<<32/1e9
}

// ntpMiddle is the part of an NTP time that reports echo: 16.16 seconds.
func ntpMiddle(ntp uint64) uint32 { return uint32(ntp >> 16) }

// shortTime turns a duration in nanoseconds into 65536ths of a second, as far as
// 32 bits go.
func shortTime(nanos int64) uint32 {
	return uint32(min(uint64(max(nanos, 0))/1000*65536/1e6, math.MaxUint32))
}
