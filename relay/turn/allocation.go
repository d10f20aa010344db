package turn

import (
	"net/netip"
	"slices"
	"time"

	"causeway/internal/wheel"
	"causeway/relay/auth"
)

// Lifetimes that RFC 8656 fixes.
const (
	permissionLifetime = 300 * time.Second // RFC 8656 section 9
	channelLifetime    = 600 * time.Second // RFC 8656 section 12
	reservationHold    = 30 * time.Second  // RFC 8656 section 7.2: at least 30 s
)

// Channel numbers that a client may bind.
const (
	MinChannel = 0x4000
	MaxChannel = 0x4FFF // RFC 8656 section 12
	// MaxLegacyChannel is RFC 5766 section 11's, for Config.LegacyChannels.
	MaxLegacyChannel = 0x7FFF
)

// never is a deadline that does not come.
const never = int64(1<<63 - 1)

// allocation is the state of one allocation, besides what forwarding needs. Times are nanoseconds since the Unix epoch,
// to keep it small: ten thousand of them are to fit in a few megabytes.
type allocation struct {
	id     ID
	source Source
	next   *Source // where the client moved, until it is heard from there; nil: nowhere

	account *auth.Account
	user    string // whom quotas count
	name    string // USERNAME as it was sent
	key     [32]byte
	keyLen  uint8
	alg     auth.Algorithm

	relayed [families]netip.AddrPort // bound; invalid where there is none
	ends    [families]int64          // when each relayed address expires
	strict  int64                    // when the credential expires, if lifetimes end with it; otherwise never
	due     int64                    // when the first thing of it expires: what the timer is set to

	permissions []permission
	channels    []channel
	tcp         *connects // RFC 6062; nil for UDP

	made     TransactionID // of the Allocate request
	moved    TransactionID // of the Refresh request that moved it last
	lifetime uint32        // that was granted in answer to it, in seconds
	began    int64
	ticket   uint32 // the serial number of its mobility ticket
	token    Token  // of the port reserved with it

	mobile   bool
	open     bool // the relayed addresses exist
	reserved bool // token is set
	failed   bool // the additional family could not be had

	timer wheel.Timer[*allocation]
}

type permission struct {
	addr netip.Addr
	ends int64
}

type channel struct {
	peer   netip.AddrPort
	ends   int64
	number uint16
}

// has reports whether the allocation relays for a family.
func (a *allocation) has(f Family) bool { return a.relayed[f].IsValid() }

func (a *allocation) hasNext() bool { return a.next != nil }

// latest returns the five-tuple that the client moved to last.
func (a *allocation) latest() Source {
	if a.hasNext() {
		return *a.next
	}
	return a.source
}

// grant returns when a lifetime that begins now ends, and how many seconds of it the client is told. A credential that
// ends the allocation ends the lifetime too.
func (a *allocation) grant(now int64, lifetime time.Duration) (ends int64, told uint32) {
	ends = min(now+int64(lifetime), a.strict)
	return ends, max(seconds(time.Duration(ends-now)), 1) // 0 would say that it is deleted
}

// deadline returns when the first thing of the allocation expires.
func (a *allocation) deadline() int64 {
	first := never
	for f := range a.relayed {
		if a.relayed[f].IsValid() {
			first = min(first, a.ends[f])
		}
	}
	for i := range a.permissions {
		first = min(first, a.permissions[i].ends)
	}
	for i := range a.channels {
		first = min(first, a.channels[i].ends)
	}
	return first
}

// seconds is a duration as LIFETIME has it.
func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

func (a *allocation) permission(addr netip.Addr) int {
	return slices.IndexFunc(a.permissions, func(p permission) bool { return p.addr == addr })
}

func (a *allocation) channelByNumber(number uint16) int {
	return slices.IndexFunc(a.channels, func(c channel) bool { return c.number == number })
}

func (a *allocation) channelByPeer(peer netip.AddrPort) int {
	return slices.IndexFunc(a.channels, func(c channel) bool { return c.peer == peer })
}
