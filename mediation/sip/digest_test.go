package sip

import (
	"bytes"
	"crypto/md5"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/emiago/sipgo/sip"
)

// wire parses a message written with \n.
func wire[T sip.Message](t testing.TB, lines ...string) T {
	t.Helper()
	msg, err := sip.NewParser().ParseSIP([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	return msg.(T)
}

func challenged(t testing.TB) *sip.Request {
	t.Helper()
	req := wire[*sip.Request](t,
		"INVITE sip:+4930123@gw.example.test;user=phone SIP/2.0",
		"Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport",
		"Max-Forwards: 70", "From: <sip:a@192.0.2.1>;tag=from", "To: <sip:+4930123@gw.example.test>",
		"Call-ID: c", "CSeq: 7 INVITE", "Contact: <sip:192.0.2.1>", "Content-Length: 0")
	req.SetBody([]byte("v=0\r\n"))
	return req
}

// answerOf is a 401, or a 407, with challenge headers "Name: value".
func answerOf(t testing.TB, code int, challenges ...string) *sip.Response {
	t.Helper()
	res := wire[*sip.Response](t, append([]string{
		fmt.Sprintf("SIP/2.0 %d Unauthorized", code), "Via: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKa;rport",
		"From: <sip:a@192.0.2.1>;tag=from", "To: <sip:+4930123@gw.example.test>;tag=to", "Call-ID: c", "CSeq: 7 INVITE", "Content-Length: 0",
	}, challenges...)...)
	res.SetSource("192.0.2.9:5060")
	return res
}

const (
	www    = "WWW-Authenticate: "
	proxy  = "Proxy-Authenticate: "
	simple = `Digest realm="r", nonce="n1", qop="auth"`
)

func newTestAuthorizer() *authorizer {
	a := newAuthorizer(Credentials{"trunk", "secret"}, nil)
	a.cnonce = func() string { return "cn" }
	return a
}

// sentCredentials are the parameters of a request's credentials.
func sentCredentials(t testing.TB, req *sip.Request, name string) map[string]string {
	t.Helper()
	hs := req.GetHeaders(name)
	if len(hs) != 1 {
		t.Fatalf("%d %s headers in\n%s", len(hs), name, req)
	}
	scheme, rest := cutToken(hs[0].Value())
	params, more, err := parseAuthParams(rest)
	if scheme != "Digest" || more != "" || err != nil {
		t.Fatalf("%q: %v", hs[0].Value(), err)
	}
	return params
}

func hex5(parts ...string) string {
	return fmt.Sprintf("%x", md5.Sum([]byte(strings.Join(parts, ":"))))
}

func hex256(parts ...string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(parts, ":"))))
}

const inviteURI = "sip:+4930123@gw.example.test;user=phone"

// RFC 3261 22.2: the same request, with credentials.
func TestRetryIsTheSameRequestWithCredentials(t *testing.T) {
	req := challenged(t)
	before := req.String()
	got, err := newTestAuthorizer().retry(req, answerOf(t, 401, www+simple))
	if err != nil {
		t.Fatal(err)
	}
	if req.String() != before {
		t.Error("the request that was challenged was changed")
	}
	if got.Via() != nil {
		t.Error("the retry has a Via")
	}
	if got.CallID().Value() != "c" || got.CSeq().SeqNo != 7 || got.From().Value() != req.From().Value() || got.To().Value() != req.To().Value() ||
		got.Recipient.String() != inviteURI || string(got.Body()) != "v=0\r\n" || got.Contact() == nil {
		t.Errorf("the retry is\n%s", got)
	}
	p := sentCredentials(t, got, "Authorization")
	want := hex5(hex5("trunk", "r", "secret"), "n1", "00000001", "cn", "auth", hex5("INVITE", inviteURI))
	if p["response"] != want || p["uri"] != inviteURI || p["username"] != "trunk" {
		t.Errorf("credentials %v, want response %s", p, want)
	}
	if _, has := p["algorithm"]; has {
		t.Error("an algorithm that was not named is named")
	}
	if _, has := p["opaque"]; has {
		t.Error("an opaque that was not sent is sent")
	}
}

// RFC 8760 2.4 and RFC 7616 3.7: of one realm's challenges the strongest that
// is known, whatever their order; RFC 3261 22.3: all realms.
func TestWhichChallengeIsAnswered(t *testing.T) {
	const md, sha, unknown = `Digest realm="r", nonce="m", algorithm=MD5, qop="auth"`,
		`Digest realm="r", nonce="s", algorithm=SHA-256, qop="auth,auth-int"`,
		`Digest realm="r", nonce="u", algorithm=SHA3-999, qop="auth"`
	for _, c := range []struct {
		name       string
		code       int
		challenges []string
		header     string
		nonce      string
	}{
		{"SHA-256 before MD5", 401, []string{www + sha, www + md}, "Authorization", "s"},
		{"SHA-256 before MD5 though it comes later", 401, []string{www + md, www + sha}, "Authorization", "s"},
		{"a strong one that is not known is passed over", 401, []string{www + unknown, www + md}, "Authorization", "m"},
		{"one realm, one strength: the peer's order", 401, []string{www + md, www + simple}, "Authorization", "m"},
		{"other schemes are passed over", 401, []string{www + `Basic realm="r"`, www + `NTLM abc==`, www + md}, "Authorization", "m"},
		{"a proxy's", 407, []string{proxy + sha, proxy + md}, "Proxy-Authorization", "s"},
		{"two in one header", 401, []string{www + md + ", " + sha}, "Authorization", "s"},
		{"a scheme in small letters, and a malformed one before", 401, []string{www + `Digest realm="x`, www + strings.Replace(md, "Digest", "digest", 1)}, "Authorization", "m"},
		{"SHA-512-256", 401, []string{www + md, www + `Digest realm="r", nonce="5", algorithm=sha-512-256, qop="auth"`}, "Authorization", "5"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := newTestAuthorizer().retry(challenged(t), answerOf(t, c.code, c.challenges...))
			if err != nil {
				t.Fatal(err)
			}
			if p := sentCredentials(t, got, c.header); p["nonce"] != c.nonce {
				t.Errorf("answered %v, want nonce %s", p, c.nonce)
			}
		})
	}
}

func TestEveryRealmIsAnswered(t *testing.T) {
	got, err := newTestAuthorizer().retry(challenged(t), answerOf(t, 407,
		proxy+`Digest realm="a", nonce="1"`, proxy+`Digest realm="b", nonce="2"`, www+`Digest realm="a", nonce="3"`,
		proxy+`Digest realm="c", nonce="4"`, proxy+`Digest realm="d", nonce="5"`))
	if err != nil {
		t.Fatal(err)
	}
	if p, w := len(got.GetHeaders("Proxy-Authorization")), len(got.GetHeaders("Authorization")); p+w != maxRealms || w != 1 {
		t.Errorf("%d and %d credentials, want %d in all", p, w, maxRealms)
	}
}

func TestWhatIsNotAnswered(t *testing.T) {
	for _, c := range []struct {
		name       string
		challenges []string
		why        string
	}{
		{"nothing", nil, "none of scheme Digest"},
		{"Basic", []string{www + `Basic realm="r"`}, "none of scheme Digest"},
		{"algorithms that are not known", []string{www + `Digest realm="r", nonce="n", algorithm=SHA3-256`, www + `Digest realm="r", nonce="n", algorithm="AKAv1-MD5"`}, `algorithm "AKAv1-MD5" is not known`},
		{"an algorithm that only looks known", []string{www + "Digest realm=\"r\", nonce=\"n\", algorithm=\u017fHA-256"}, "is not known"},
		{"auth-int alone", []string{www + `Digest realm="r", nonce="n", qop="auth-int"`}, "auth-int"},
		{"a session without qop", []string{www + `Digest realm="r", nonce="n", algorithm=MD5-sess`}, "has no cnonce"},
		{"no nonce", []string{www + `Digest realm="r"`}, "realm or nonce"},
		{"an empty nonce", []string{www + `Digest realm="r", nonce=""`}, "realm or nonce"},
		{"no realm", []string{www + `Digest nonce="n"`}, "realm or nonce"},
		{"two realms in one", []string{www + `Digest realm="r", nonce="n", realm="s"`}, `parameter "realm"`},
		{"a quote that does not end", []string{www + `Digest realm="r, nonce=n`}, `parameter "realm"`},
		{"an escape that does not end", []string{www + `Digest nonce="n", realm="r\`}, `parameter "realm"`},
		{"an escape outside quotes", []string{www + `Digest nonce=n\, realm="r"`}, `parameter "nonce"`},
		{"a quote inside a token", []string{www + `Digest nonce=n"n, realm="r"`}, `parameter "nonce"`},
		{"no name", []string{www + `Digest ="n"`}, "without a name"},
		{"a control character", []string{www + "Digest realm=\"r\x01\", nonce=\"n\""}, `parameter "realm"`},
		{"too long a value", []string{www + `Digest realm="r", nonce="` + strings.Repeat("n", maxAuthValue+1) + `"`}, `parameter "nonce"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := newTestAuthorizer().retry(challenged(t), answerOf(t, 401, c.challenges...))
			if !errors.Is(err, errNoDigest) || !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v, want %s", err, c.why)
			}
		})
	}
}

// RFC 2617 3.2.2.1: without qop, the old response.
func TestWithoutQop(t *testing.T) {
	for _, challenge := range []string{`Digest realm="r", nonce="n1"`, `Digest realm="r",nonce="n1",qop=""`} {
		got, err := newTestAuthorizer().retry(challenged(t), answerOf(t, 401, www+challenge))
		if err != nil {
			t.Fatal(err)
		}
		p := sentCredentials(t, got, "Authorization")
		if want := hex5(hex5("trunk", "r", "secret"), "n1", hex5("INVITE", inviteURI)); p["response"] != want || len(p) != 5 {
			t.Errorf("credentials %v, want response %s and neither cnonce, qop nor nc", p, want)
		}
	}
}

// RFC 7616 3.4.2: -sess.
func TestSessions(t *testing.T) {
	for name, h := range map[string]func(...string) string{"MD5-sess": hex5, "SHA-256-sess": hex256} {
		got, err := newTestAuthorizer().retry(challenged(t), answerOf(t, 401, www+`Digest realm="r", nonce="n1", qop="auth", algorithm=`+name))
		if err != nil {
			t.Fatal(err)
		}
		p := sentCredentials(t, got, "Authorization")
		want := h(h(h("trunk", "r", "secret"), "n1", "cn"), "n1", "00000001", "cn", "auth", h("INVITE", inviteURI))
		if p["response"] != want || p["algorithm"] != name {
			t.Errorf("%s: %v, want response %s", name, p, want)
		}
	}
}

// RFC 7616 3.4: what stood between the quotes is repeated and hashed as it
// stood there; our own user name is escaped, and hashed as it is.
func TestQuotes(t *testing.T) {
	a := newTestAuthorizer()
	a.credentials.Username = `tr"un\k`
	got, err := a.retry(challenged(t), answerOf(t, 401, www+`Digest  realm = "a \"b\", nonce=\\" ,,nonce=n/1== , opaque="" , qop = "auth-int , AUTH"`))
	if err != nil {
		t.Fatal(err)
	}
	p := sentCredentials(t, got, "Authorization")
	const realm = `a \"b\", nonce=\\`
	want := hex5(hex5(`tr"un\k`, realm, "secret"), "n/1==", "00000001", "cn", "auth", hex5("INVITE", inviteURI))
	if p["realm"] != realm || p["username"] != `tr\"un\\k` || p["response"] != want || p["nonce"] != "n/1==" {
		t.Errorf("credentials %v, want response %s", p, want)
	}
	if opaque, has := p["opaque"]; !has || opaque != "" {
		t.Error("an empty opaque is not sent back")
	}
}

// RFC 3261 22.3: a proxy asks, then the server: both get what is theirs, and
// the proxy sees its nonce counted on.
func TestAProxyAndThenTheServer(t *testing.T) {
	a := newTestAuthorizer()
	second, err := a.retry(challenged(t), answerOf(t, 407, proxy+`Digest realm="p", nonce="np", qop="auth", opaque="o", algorithm=MD5-sess`))
	if err != nil {
		t.Fatal(err)
	}
	a.cnonce = func() string { return "cn2" }
	third, err := a.retry(second, answerOf(t, 401, www+simple))
	if err != nil {
		t.Fatal(err)
	}
	if p := sentCredentials(t, third, "Authorization"); p["realm"] != "r" || p["nc"] != "00000001" || p["cnonce"] != "cn2" {
		t.Errorf("the server gets %v", p)
	}
	p := sentCredentials(t, third, "Proxy-Authorization")
	want := hex5(hex5(hex5("trunk", "p", "secret"), "np", "cn"), "np", "00000002", "cn", "auth", hex5("INVITE", inviteURI))
	if p["nc"] != "00000002" || p["opaque"] != "o" || p["cnonce"] != "cn" || p["response"] != want {
		t.Errorf("the proxy gets %v, want response %s", p, want)
	}
	// A realm of the same name is another's there.
	if _, err := a.retry(second, answerOf(t, 401, www+`Digest realm="p", nonce="x"`)); err != nil {
		t.Errorf("a server with the proxy's realm: %v", err)
	}
}

// RFC 7616 3.3: credentials that are refused are not sent again, unless their
// nonce alone was stale; and that once.
func TestRefusedAndStale(t *testing.T) {
	a := newTestAuthorizer()
	second, err := a.retry(challenged(t), answerOf(t, 401, www+simple))
	if err != nil {
		t.Fatal(err)
	}
	for name, challenge := range map[string]string{
		"again":          simple,
		"another nonce":  strings.Replace(simple, "n1", "n2", 1),
		"not stale":      strings.Replace(simple, "n1", "n2", 1) + ", stale=false",
		"stale, the old": simple + ", stale=true",
	} {
		if _, err := a.retry(second, answerOf(t, 401, www+challenge)); !errors.Is(err, errCredentialsRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	third, err := a.retry(second, answerOf(t, 401, www+strings.Replace(simple, "n1", "n2", 1)+`, stale="TRUE"`))
	if err != nil {
		t.Fatalf("stale: %v", err)
	}
	if p := sentCredentials(t, third, "Authorization"); p["nonce"] != "n2" || p["nc"] != "00000001" {
		t.Errorf("after a stale nonce %v", p)
	}
	if _, err := a.retry(third, answerOf(t, 401, www+strings.Replace(simple, "n1", "n3", 1)+`, stale=true`)); !errors.Is(err, errCredentialsRefused) {
		t.Errorf("stale twice: %v", err)
	}
	// Another request begins anew, whatever has been.
	for i := range 3 * maxRenewed {
		second, err := a.retry(challenged(t), answerOf(t, 401, www+simple))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.retry(second, answerOf(t, 401, www+fmt.Sprintf(`Digest realm="r", nonce="m%d", stale=true`, i))); err != nil {
			t.Fatal(err)
		}
	}
	if len(a.renewed) != maxRenewed {
		t.Errorf("%d nonces are remembered", len(a.renewed))
	}
}

// Credentials are for the configured peer alone.
func TestForeignChallenges(t *testing.T) {
	a := newAuthorizer(Credentials{"trunk", "secret"}, func(addr netip.Addr) bool { return addr == netip.MustParseAddr("192.0.2.9") })
	res := answerOf(t, 401, www+simple)
	if _, err := a.retry(challenged(t), res); err != nil {
		t.Errorf("the peer's: %v", err)
	}
	res.SetSource("[::ffff:192.0.2.9]:5060")
	if _, err := a.retry(challenged(t), res); err != nil {
		t.Errorf("the peer's, IPv4-mapped: %v", err)
	}
	for _, source := range []string{"192.0.2.10:5060", "", "gw.example.test:5060"} {
		res.SetSource(source)
		if _, err := a.retry(challenged(t), res); !errors.Is(err, errForeignChallenge) {
			t.Errorf("%q: %v", source, err)
		}
	}
	var none *authorizer
	if _, err := none.retry(challenged(t), answerOf(t, 401, www+simple)); !errors.Is(err, errNoCredentials) {
		t.Errorf("without credentials: %v", err)
	}
}

func TestCredentialsDoNotPrint(t *testing.T) {
	c := Credentials{"trunk", "secret"}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "c", c, "p", &c)
	}
	out := log.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out += fmt.Sprintf(verb, c) + fmt.Sprintf(verb, &c) + fmt.Sprintf(verb, struct{ C Credentials }{c})
	}
	if strings.Contains(out, "secret") || strings.Contains(out, "trunk") || strings.Contains(out, "736563726574") {
		t.Errorf("credentials in %s", out)
	}
}

// FuzzChallenge: whatever a peer writes, an answer is one header line that
// reads back as what was asked.
func FuzzChallenge(f *testing.F) {
	for _, v := range digestVectors {
		f.Add(v.challenge)
	}
	f.Add(`Digest realm="a \"b\", nonce=\\" ,,nonce=n/1== , opaque="" , qop = "auth-int , AUTH"`)
	f.Add(simple + ", " + simple + `, Basic realm="x"`)
	f.Fuzz(func(t *testing.T, value string) {
		found, _ := parseChallenges(value)
		for _, c := range found {
			c.cnonce = "cn"
			line := c.answer(Credentials{`a"\b`, "secret"}, "REGISTER", "sip:example.test")
			if strings.ContainsAny(line, "\r\n\x00") || strings.Contains(line, "secret") && !strings.Contains(value, "secret") {
				t.Fatalf("%q is answered by %q", value, line)
			}
			scheme, rest := cutToken(line)
			params, more, err := parseAuthParams(rest)
			if scheme != "Digest" || more != "" || err != nil || params["nonce"] != c.nonce || params["realm"] != c.realm || params["username"] == "" {
				t.Fatalf("%q is answered by %q, which reads back as %v, %q, %v", value, line, params, more, err)
			}
		}
	})
}
