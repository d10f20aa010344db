package auth

import (
	"encoding/binary"
	"net/netip"
)

// form is a way to write an IPv4 address as an IPv6 address.
type form uint8

const (
	formNone       form = iota
	formMapped          // ::ffff:a.b.c.d, RFC 4291 section 2.5.5.2
	formCompatible      // ::a.b.c.d, RFC 4291 section 2.5.5.1
	formTranslated      // ::ffff:0:a.b.c.d, RFC 2765 section 2.1
	formNAT64           // 64:ff9b::a.b.c.d, RFC 6052 section 2.1
	formNAT64Local      // somewhere in 64:ff9b:1::/48, RFC 8215
	form6to4            // 2002:aabb:ccdd::, RFC 3056 section 2
	formTeredo          // 2001:0:<server>:...:<client, inverted>, RFC 4380 section 4
	formISATAP          // <any /64>:0:5efe:a.b.c.d, RFC 5214 section 6.1
	formCount
)

// forms are how each is called, and how long the prefix is that it has; ISATAP has none.
var forms = [formCount]struct {
	name string
	bits int
}{
	formNone:       {"", 0},
	formMapped:     {"IPv4-mapped", 96},
	formCompatible: {"IPv4-compatible", 96},
	formTranslated: {"IPv4-translated", 96},
	formNAT64:      {"NAT64", 96},
	formNAT64Local: {"local-use NAT64", 48},
	form6to4:       {"6to4", 16},
	formTeredo:     {"Teredo", 32},
	formISATAP:     {"ISATAP", 0},
}

// translates reports whether the form is another spelling of the IPv4 address: packets to it arrive there. The others
// are hosts of their own, reached by way of the IPv4 address.
func (f form) translates() bool {
	return f == formMapped || f == formCompatible || f == formTranslated || f == formNAT64
}

// Canonical returns the IPv4 address inside an IPv6 address and the name of the form that it has: IPv4-mapped,
// IPv4-compatible, IPv4-translated, NAT64, local-use NAT64 (read as a /96), 6to4, Teredo (the client's address) or
// ISATAP. Every other address is returned as it is, with no form. It is for showing; a [Policy] looks at every address
// that may be inside.
func Canonical(a netip.Addr) (canon netip.Addr, formName string) {
	v4, f := canonical(a)
	return v4, forms[f].name
}

func canonical(a netip.Addr) (netip.Addr, form) {
	var e embedded
	f := e.find(a)
	if f == formNone {
		return a, f
	}
	return e.addrs[0], f
}

// embedded holds the IPv4 addresses inside an IPv6 address: Teredo has two, and a 6to4 address may be an ISATAP address
// as well. The first is what Canonical says.
type embedded struct {
	addrs [2]netip.Addr
	n     int
}

func (e *embedded) add(v uint32) {
	e.addrs[e.n] = v4(v)
	e.n++
}

func v4(v uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

// find fills e and returns the outermost form. An IPv4 address has none.
func (e *embedded) find(a netip.Addr) form {
	if !a.Is6() {
		return formNone
	}
	raw := a.As16()
	hi, lo := binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])
	switch {
	case hi == 0:
		return e.findZero(lo)
	case hi == 0x0064_ff9b_0000_0000 && lo>>32 == 0:
		e.add(uint32(lo))
		return formNAT64
	case hi>>16 == 0x0064_ff9b_0001:
		e.add(uint32(lo))
		return formNAT64Local
	case hi>>32 == 0x2001_0000:
		e.add(^uint32(lo))
		e.add(uint32(hi))
		return formTeredo
	case hi>>48 == 0x2002:
		e.add(uint32(hi >> 16))
		if isISATAP(lo) {
			e.add(uint32(lo))
		}
		return form6to4
	case isISATAP(lo):
		e.add(uint32(lo))
		return formISATAP
	default:
		return formNone
	}
}

// findZero is find for ::/64.
func (e *embedded) findZero(lo uint64) form {
	var f form
	switch {
	case lo>>32 == 0x0000_ffff:
		f = formMapped
	case lo>>32 == 0xffff_0000:
		f = formTranslated
	case lo>>32 == 0 && lo > 1: // :: and ::1 are something else
		f = formCompatible
	case isISATAP(lo):
		f = formISATAP
	default:
		return formNone
	}
	e.add(uint32(lo))
	return f
}

// isISATAP looks at an interface identifier: IANA's OUI and 0xfe, whatever the universal and group bits say.
func isISATAP(id uint64) bool { return id>>32&^0x0300_0000 == 0x0000_5efe }

// localNAT64 is the IPv4 address inside an address of 64:ff9b:1::/48 when the translator's prefix has a length: 48,
// 56, 64 or 96 (RFC 6052 section 2.2; 32 and 40 would not lie within). Bits 64 to 71 are skipped.
func localNAT64(a netip.Addr, bits int) netip.Addr {
	raw := a.As16()
	switch bits {
	case 48:
		return netip.AddrFrom4([4]byte{raw[6], raw[7], raw[9], raw[10]})
	case 56:
		return netip.AddrFrom4([4]byte{raw[7], raw[9], raw[10], raw[11]})
	case 64:
		return netip.AddrFrom4([4]byte(raw[9:13]))
	default:
		return netip.AddrFrom4([4]byte(raw[12:16]))
	}
}
