package sip

import (
	"cmp"
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/emiago/sipgo/sip"
)

// Credentials are what a peer's challenges are answered with. They print as
// nothing: they must never stand in a log.
type Credentials struct{ Username, Password string }

// Format hides the credentials from every verb of fmt.
func (Credentials) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte("[credentials]")) }

// LogValue hides the credentials from slog.
func (Credentials) LogValue() slog.Value { return slog.StringValue("[credentials]") }

// authorizer answers the challenges of one peer (RFC 3261 22, RFC 7616,
// RFC 8760). It is safe for concurrent use, and a nil one has no credentials.
//
// Every request begins without credentials and is challenged for itself: an
// extra round trip, and no nonce whose age would have to be known.
type authorizer struct {
	credentials Credentials
	allowed     func(netip.Addr) bool // who may challenge; nil: everybody
	cnonce      func() string

	mu      sync.Mutex // guards the following
	renewed []string   // the nonces that replaced a stale one, oldest first
}

const (
	// maxRenewed bounds the nonces remembered. One matters for a round trip
	// only, and a peer that keeps its nonces for longer than one makes none.
	maxRenewed = 64
	// maxRealms bounds the challenges answered in one request: a proxy's and a
	// server's are two, those of forks are collected (RFC 3261 22.3).
	maxRealms = 4
)

var (
	errNoCredentials      = errors.New("the peer asks for credentials, and none are configured")
	errCredentialsRefused = errors.New("the peer refuses the configured credentials")
	errForeignChallenge   = errors.New("the challenge comes from an address that is not the configured peer's")
	errNoDigest           = errors.New("no challenge that can be answered")
)

// newAuthorizer answers challenges that come from allowed addresses; nil allows
// all.
func newAuthorizer(c Credentials, allowed func(netip.Addr) bool) *authorizer {
	return &authorizer{credentials: c, allowed: allowed, cnonce: rand.Text}
}

// retry is req once more, with the credentials that res, its 401 or 407, asks
// for. It has no Via, and req's CSeq: the caller sets both (RFC 3261 22.2:
// CSeq + 1, the same Call-ID, From and To). req is as it was sent; a request
// that retry made is given to it again when it is challenged too: a proxy and
// a server may both ask, and a nonce may be stale once.
//
// The error says why there is no use in asking again: no credentials, or
// refused ones, or no challenge that we can answer.
func (a *authorizer) retry(req *sip.Request, res *sip.Response) (*sip.Request, error) {
	if a == nil {
		return nil, errNoCredentials
	}
	if err := a.checkSource(res); err != nil {
		return nil, err
	}
	challenges, err := bestChallenges(res)
	if err != nil {
		return nil, err
	}
	given := givenCredentials(req)
	for _, c := range challenges {
		if err := a.mayAnswer(c, given); err != nil {
			return nil, err
		}
	}
	again := req.Clone()
	for _, name := range []string{"Via", authorization, proxyAuthorization} {
		for again.RemoveHeader(name) {
		}
	}
	for _, g := range given {
		// A proxy on the way asked before: it sees its nonce for the second time.
		if !slices.ContainsFunc(challenges, g.sameSpace) {
			g.count++
			challenges = append(challenges, g)
		}
	}
	for _, c := range challenges {
		if c.cnonce == "" {
			c.cnonce = a.cnonce()
		}
		again.AppendHeader(sip.NewHeader(c.answerHeader(), c.answer(a.credentials, req.Method.String(), req.Recipient.String())))
	}
	return again, nil
}

// checkSource keeps credentials from everybody but the configured peer.
func (a *authorizer) checkSource(res *sip.Response) error {
	if a.allowed == nil {
		return nil
	}
	source, err := netip.ParseAddrPort(res.Source())
	if err != nil || !a.allowed(source.Addr().Unmap()) {
		return errForeignChallenge
	}
	return nil
}

// mayAnswer refuses a challenge that answers credentials of ours, unless it
// says that nothing but their nonce was wrong (RFC 7616 3.3, stale), and that
// for the first time.
func (a *authorizer) mayAnswer(c challenge, given []challenge) error {
	i := slices.IndexFunc(given, c.sameSpace)
	if i < 0 {
		return nil
	}
	old := given[i].nonce
	a.mu.Lock()
	defer a.mu.Unlock()
	if !c.stale || c.nonce == old || slices.Contains(a.renewed, old) {
		return fmt.Errorf("%w for realm %q", errCredentialsRefused, c.realm)
	}
	if len(a.renewed) == maxRenewed {
		a.renewed = slices.Delete(a.renewed, 0, 1)
	}
	a.renewed = append(a.renewed, c.nonce)
	return nil
}

const (
	authorization      = "Authorization"
	proxyAuthorization = "Proxy-Authorization"
)

// challenge is one Digest challenge, or one answer to it. Strings are what
// stood between the quotes, escapes included: they are repeated and hashed as
// they came (RFC 7616 3.4: "without the surrounding quotes").
type challenge struct {
	proxy     bool // of Proxy-Authenticate, not of WWW-Authenticate
	realm     string
	nonce     string
	opaque    string
	hasOpaque bool
	algorithm string // as written; "" is MD5
	qop       bool   // qop=auth; false: none was offered (RFC 2617 3.2.1)
	stale     bool
	userhash  bool
	// of the answer
	cnonce string
	count  uint32 // how often the nonce has been used, this time included
}

// sameSpace says whether two challenges ask for the same credentials.
func (c challenge) sameSpace(o challenge) bool { return c.proxy == o.proxy && c.realm == o.realm }

func (c challenge) answerHeader() string {
	if c.proxy {
		return proxyAuthorization
	}
	return authorization
}

// algorithm is one of RFC 7616 6.1's and RFC 8760 2's.
type algorithm struct {
	new     func() hash.Hash
	session bool // -sess: nonce and cnonce go into A1
	rank    int  // the higher is taken
}

// algorithms by their name in upper case. Among those of one rank the peer's
// order decides (RFC 8760 2.4).
var algorithms = map[string]algorithm{
	"MD5":              {md5.New, false, 1},
	"MD5-SESS":         {md5.New, true, 1},
	"SHA-256":          {sha256.New, false, 2},
	"SHA-256-SESS":     {sha256.New, true, 2},
	"SHA-512-256":      {sha512.New512_256, false, 2},
	"SHA-512-256-SESS": {sha512.New512_256, true, 2},
}

func (c challenge) method() algorithm { return algorithms[strings.ToUpper(cmp.Or(c.algorithm, "MD5"))] }

// answer is the header's value (RFC 7616 3.4). cnonce is set.
func (c challenge) answer(with Credentials, method, uri string) string {
	alg := c.method()
	digest := func(parts ...string) string {
		h := alg.new()
		h.Write([]byte(strings.Join(parts, ":")))
		return hex.EncodeToString(h.Sum(nil))
	}
	a1 := digest(with.Username, c.realm, with.Password)
	if alg.session {
		a1 = digest(a1, c.nonce, c.cnonce)
	}
	a2 := digest(method, uri)
	count := fmt.Sprintf("%08x", c.count)
	response := digest(a1, c.nonce, a2)
	if c.qop {
		response = digest(a1, c.nonce, count, c.cnonce, "auth", a2)
	}
	user := with.Username
	if c.userhash {
		user = digest(with.Username, c.realm)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `Digest username="%s", realm="%s", nonce="%s", uri="%s", response="%s"`,
		strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(user), c.realm, c.nonce, uri, response)
	if c.algorithm != "" {
		b.WriteString(", algorithm=" + c.algorithm)
	}
	if c.qop {
		fmt.Fprintf(&b, `, cnonce="%s", qop=auth, nc=%s`, c.cnonce, count)
	}
	if c.hasOpaque {
		fmt.Fprintf(&b, `, opaque="%s"`, c.opaque)
	}
	if c.userhash {
		b.WriteString(", userhash=true")
	}
	return b.String()
}

// bestChallenges are the challenges of a 401 or 407 to be answered: for each
// realm the strongest that we can. The error says why there is none.
func bestChallenges(res *sip.Response) ([]challenge, error) {
	var best []challenge
	var why []error
	for _, name := range []string{"WWW-Authenticate", "Proxy-Authenticate"} {
		for _, h := range res.GetHeaders(name) {
			found, err := parseChallenges(h.Value())
			if err != nil {
				why = append(why, err)
			}
			for _, c := range found {
				c.proxy = name == "Proxy-Authenticate"
				i := slices.IndexFunc(best, c.sameSpace)
				switch {
				case i >= 0 && c.method().rank > best[i].method().rank:
					best[i] = c
				case i < 0 && len(best) < maxRealms:
					best = append(best, c)
				}
			}
		}
	}
	if len(best) > 0 {
		return best, nil
	}
	if len(why) == 0 {
		return nil, fmt.Errorf("%w: there is none of scheme Digest", errNoDigest)
	}
	return nil, fmt.Errorf("%w: %w", errNoDigest, errors.Join(why...))
}

// givenCredentials are the answers that a request of ours carries.
func givenCredentials(req *sip.Request) []challenge {
	var given []challenge
	for _, name := range []string{authorization, proxyAuthorization} {
		for _, h := range req.GetHeaders(name) {
			scheme, rest := cutToken(h.Value())
			params, _, err := parseAuthParams(rest)
			if !strings.EqualFold(scheme, "Digest") || err != nil {
				continue
			}
			c := newChallenge(params)
			c.proxy = name == proxyAuthorization
			c.qop = params["qop"] == "auth"
			c.cnonce = params["cnonce"]
			n, _ := strconv.ParseUint(params["nc"], 16, 32)
			c.count = uint32(n)
			given = append(given, c)
		}
	}
	return given
}
