package archtest

// room is one line of the table: what a package may import besides the standard
// library.
type room struct {
	// may lists import path prefixes. Those that start with "./" are rooms of
	// this module: "./qos" is that package alone, "./qos/..." also what is below.
	may []string
	// pure rooms do no I/O: no net but net/netip, no os, no logger, no clock.
	// They get `now`, sources and bytes as arguments, so that a test, a fuzzer
	// or a simulation can drive them at any speed.
	pure bool
	// sockets rooms may open sockets of their own. Media goes through
	// internal/netio alone, where marks, batches and drop counters are kept.
	sockets bool
	// below: the line covers the packages below this one too. Elsewhere each
	// package needs a line of its own.
	below bool
}

// Metrics, identifiers and the like that wiring rooms use.
const (
	prometheus = "github.com/prometheus/client_golang"
	uuid       = "github.com/google/uuid"
)

// rooms is the import table. A package that no line covers is an error: a new
// room is an architectural decision and starts here.
var rooms = map[string]room{
	"cmd/causeway": {may: []string{
		"./relay/...", "./mediation/...", "./codec/...", "./qos/...", "./bench/...", "./configs", "./internal/...",
		"github.com/alecthomas/kong", "github.com/vbauerster/mpb/v8", prometheus,
	}},

	"relay":        {may: []string{"./relay/...", "./qos/...", "./internal/...", prometheus}},
	"relay/turn":   {may: []string{"./relay/auth", "./internal/wheel", "github.com/pion/stun/v3"}, pure: true},
	"relay/auth":   {pure: true},
	"relay/route":  {may: []string{"./internal/pkt"}, pure: true},
	"relay/issue":  {may: []string{"./relay/auth", "./internal/...", prometheus}},
	"relay/stream": {may: []string{"./relay/turn", "./internal/netio", "./internal/pkt", "./internal/wheel", "github.com/pion/dtls/v3", "github.com/pion/logging"}},

	"mediation":                 {may: []string{"./mediation/...", "./codec/...", "./qos/...", "./internal/...", prometheus, uuid}},
	"mediation/sip":             {may: []string{"./mediation/sip/...", "./mediation/number", "github.com/emiago/sipgo"}},
	"mediation/sdp":             {pure: true},
	"mediation/sip/locate":      {},
	"mediation/sip/transaction": {may: []string{"github.com/emiago/sipgo"}, pure: true},
	"mediation/sip/transport":   {may: []string{"github.com/emiago/sipgo"}, sockets: true},
	"mediation/number":          {may: []string{"github.com/dlclark/regexp2"}, pure: true},
	"mediation/media": {may: []string{
		"./codec/...", "./qos", "./qos/qoe", "./internal/netio", "./internal/pkt", "./internal/wheel",
		"github.com/pion/rtp", "github.com/pion/rtcp", "github.com/pion/srtp/v3",
	}},

	"codec": {may: []string{"./codec/..."}, pure: true, below: true},

	"qos":         {pure: true},
	"qos/qoe":     {pure: true},
	"qos/store":   {may: []string{"./qos/qoe"}},
	"qos/console": {may: []string{"./qos/store", "./qos/qoe", "./internal/obs"}},

	// A load generator is not a daemon: it opens what it needs and may use any
	// public API, but no internal room other than what it shows itself with.
	"bench": {may: []string{
		"./bench/...", "./relay/...", "./mediation/...", "./codec/...", "./qos/...", "./internal/obs",
		"github.com/", "golang.org/x/",
	}, sockets: true, below: true},

	"configs": {},

	"internal/netio":    {may: []string{"golang.org/x/sys/unix", "golang.org/x/net", "./internal/pkt"}, sockets: true},
	"internal/pkt":      {},
	"internal/wheel":    {},
	"internal/conf":     {may: []string{"./configs", "./mediation/number", "./relay/auth", "github.com/goccy/go-yaml"}},
	"internal/firewall": {may: []string{"./internal/conf"}},
	"internal/life":     {},
	"internal/obs":      {may: []string{prometheus}, sockets: true},
	"internal/archtest": {},

	// Peers and tools of the tests; never part of a binary.
	"test":     {may: []string{"./test/rig/...", "./bench/...", "./codec/...", "./qos/...", "github.com/", "golang.org/x/"}, sockets: true, below: true},
	"test/rig": {may: []string{"./test/rig/...", "./bench/...", "github.com/", "golang.org/x/"}, sockets: true, below: true},
}

// benchUsers may import bench: its command, itself, and the tests that use its
// endpoints as peers.
var benchUsers = []string{"cmd/causeway", "bench", "test"}
