package signalling

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"causeway/test/rig"
)

const trunkUser, trunkPassword = "trunk", "s3cret"

// trunkAuth is a setting whose gateway side has credentials.
func trunkAuth(more ...string) setting {
	return setting{gateMore: append([]string{fmt.Sprintf("auth: {username: %s, password: %s}", trunkUser, trunkPassword)}, more...)}
}

var digestField = regexp.MustCompile(`(\w+)=(?:"([^"]*)"|([^,\s]+))`)

// digest are the fields of a challenge or of credentials.
func digest(value string) map[string]string {
	fields := map[string]string{}
	for _, m := range digestField.FindAllStringSubmatch(value, -1) {
		fields[strings.ToLower(m[1])] = m[2] + m[3]
	}
	return fields
}

// proven checks credentials as a registrar does (RFC 2617 3.2.2, RFC 7616, RFC 8760): it returns what is wrong, or "".
func proven(req *message, header, algorithm, nonce string) string {
	f := digest(req.header(header))
	hash := func(s string) string { sum := md5.Sum([]byte(s)); return hex.EncodeToString(sum[:]) }
	if algorithm == "SHA-256" {
		hash = func(s string) string { sum := sha256.Sum256([]byte(s)); return hex.EncodeToString(sum[:]) }
	}
	if f["username"] != trunkUser || f["nonce"] != nonce {
		return fmt.Sprintf("username %q, nonce %q, want %q", f["username"], f["nonce"], nonce)
	}
	if f["uri"] != req.uri() {
		return fmt.Sprintf("uri %q, the request is for %q", f["uri"], req.uri())
	}
	if a := f["algorithm"]; a != algorithm && (a != "" || algorithm != "MD5") {
		return "algorithm " + a
	}
	a1, a2 := hash(trunkUser+":"+f["realm"]+":"+trunkPassword), hash(req.method()+":"+f["uri"])
	want := hash(a1 + ":" + nonce + ":" + a2)
	if f["qop"] != "" {
		if f["nc"] == "" || f["cnonce"] == "" {
			return "qop without nc and cnonce"
		}
		want = hash(strings.Join([]string{a1, nonce, f["nc"], f["cnonce"], f["qop"], a2}, ":"))
	}
	if f["response"] != want {
		return fmt.Sprintf("response %s, want %s", f["response"], want)
	}
	return ""
}

// challenge is a digest challenge of a realm.
func challenge(algorithm, nonce, more string) string {
	return fmt.Sprintf(`Digest realm="trunk, \"one\"", nonce="%s", algorithm=%s, qop="auth,auth-int"%s`, nonce, algorithm, more)
}

// authenticated has the callee challenge the INVITE and returns once an INVITE with good credentials is there.
func authenticated(t *testing.T, b *call, status, algorithm string) {
	t.Helper()
	asks, answers := "WWW-Authenticate", "Authorization"
	if strings.HasPrefix(status, "407") {
		asks, answers = "Proxy-Authenticate", "Proxy-Authorization"
	}
	nonce := newTag()
	first := b.invite
	b.refuse(status, asks+": "+strings.ReplaceAll(challenge(algorithm, nonce, ""), `trunk, \"one\"`, "trunk"))
	b.invite = b.expect("INVITE")
	if why := proven(b.invite, answers, algorithm, nonce); why != "" {
		t.Fatalf("%s: %s\n%s", algorithm, why, b.invite.raw)
	}
	before, _ := first.seq()
	if now, _ := b.invite.seq(); now != before+1 || b.invite.header("From") != first.header("From") || b.invite.tag("To") != "" {
		t.Errorf("the second INVITE: CSeq %d after %d, From %s after %s", now, before, b.invite.header("From"), first.header("From"))
	}
	if b.invite.body != first.body {
		t.Errorf("the offer changed:\n%s\n%s", first.body, b.invite.body)
	}
	b.local = b.invite.header("To") + ";tag=" + newTag()
}

// RFC 3261 22, RFC 8760: a trunk asks for credentials, as a server or as a proxy, by MD5 or SHA-256: the INVITE comes again with
// them, and the caller knows nothing of it.
func TestTrunkAuthenticates(t *testing.T) {
	t.Parallel()
	for _, status := range []string{"401 Unauthorized", "407 Proxy Authentication Required"} {
		for _, algorithm := range []string{"MD5", "SHA-256"} {
			t.Run(status[:3]+" "+algorithm, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, trunkAuth())
				pool, gateway := l.agents()
				l.start()
				a := pool.dial(number)
				a.sendInvite(a.sdp.String())
				b := gateway.incoming(number)
				authenticated(t, b, status, algorithm)
				b.ring()
				a.expect("180 INVITE")
				b.answer()
				a.answered()

				// BYE is challenged for itself.
				a.send(a.request("BYE", ""))
				a.expect("200 BYE")
				bye := b.expect("BYE")
				nonce := newTag()
				asks, answers := "WWW-Authenticate", "Authorization"
				if status[:3] == "407" {
					asks, answers = "Proxy-Authenticate", "Proxy-Authorization"
				}
				if why := proven(bye, answers, algorithm, nonce); bye.header(answers) == "" || why != "" {
					b.respond(bye, status, "", asks+": "+challenge(algorithm, nonce, ""))
					bye = b.expect("BYE")
					if why := digest(bye.header(answers))["nonce"]; why != nonce {
						t.Errorf("BYE came again with the nonce %q, want %q", why, nonce)
					}
				}
				b.respond(bye, "200 OK", "")
				a.none("401 INVITE", "which was the trunk's")
				a.none("407 INVITE", "which was the trunk's")
			})
		}
	}
}

// RFC 3261 22.2: in a call from the trunk, what causeway asks in its dialog is challenged, answered, and served.
func TestTrunkAuthenticatesInItsOwnCall(t *testing.T) {
	t.Parallel()
	l := newLab(t, trunkAuth())
	pool, gateway := l.agents()
	l.start()
	p := parties{lab: l, caller: gateway, callee: pool}
	a, b := p.talking()
	b.sdp.direction = "sendonly"
	b.change("INVITE")
	offer := a.reoffered("INVITE")
	a.invite = offer
	nonce := newTag()
	a.respond(offer, "407 Proxy Authentication Required", "", "Proxy-Authenticate: "+challenge("MD5", nonce, ""))
	a.expect("ACK")
	again := a.expect("INVITE")
	if digest(again.header("Proxy-Authorization"))["nonce"] != nonce || again.body != offer.body {
		t.Errorf("the re-INVITE came again without credentials, or with another offer:\n%s", again.raw)
	}
	a.answerReoffer(again)
	p.hangUp(b, a)
}

// RFC 3261 22.1, RFC 7616 3.3: of several challenges SHA-256 is answered before MD5; a stale nonce is answered once more; what is
// refused again ends the call, with no third try.
func TestTrunkChallenges(t *testing.T) {
	t.Parallel()
	l := newLab(t, trunkAuth())
	pool, gateway := l.agents()
	l.start()
	call := func() (a, b *call) {
		a = pool.dial(number)
		a.sendInvite(a.sdp.String())
		return a, gateway.incoming(number)
	}
	plain := func(algorithm, nonce, more string) string {
		return "WWW-Authenticate: " + strings.ReplaceAll(challenge(algorithm, nonce, more), `trunk, \"one\"`, "trunk")
	}

	a, b := call()
	b.refuse("401 Unauthorized", plain("MD5", "m", ""), plain("SHA-256", "s", ""), `WWW-Authenticate: Basic realm="x"`)
	b.invite = b.expect("INVITE")
	if why := proven(b.invite, "Authorization", "SHA-256", "s"); why != "" {
		t.Errorf("of MD5 and SHA-256: %s", why)
	}
	b.local = b.invite.header("To") + ";tag=" + newTag()
	b.refuse("401 Unauthorized", plain("SHA-256", "fresh", ", stale=true"))
	b.invite = b.expect("INVITE")
	if why := proven(b.invite, "Authorization", "SHA-256", "fresh"); why != "" {
		t.Errorf("after stale: %s", why)
	}
	b.local = b.invite.header("To") + ";tag=" + newTag()
	b.answer()
	a.answered()
	parties{lab: l}.hangUp(a, b)

	// Refused credentials: no more tries, and the caller hears no challenge.
	a, b = call()
	b.refuse("401 Unauthorized", plain("MD5", "one", ""))
	b.invite = b.expect("INVITE")
	b.local = b.invite.header("To") + ";tag=" + newTag()
	b.refuse("401 Unauthorized", plain("MD5", "two", ""))
	res := a.a.await(patience, "refusal", func(m *message) bool { return a.is(m, "4xx INVITE") || a.is(m, "5xx INVITE") })
	a.ackFailure(res)
	if res.code() == 401 || res.header("WWW-Authenticate") != "" {
		t.Errorf("the caller heard the trunk's challenge:\n%s", res.raw)
	}

	// Challenges that cannot be answered.
	for _, c := range []string{`WWW-Authenticate: Basic realm="x"`, "WWW-Authenticate: " + challenge("SHA3-1024", "n", ""), "WWW-Authenticate: Digest", "X: y"} {
		a, b = call()
		b.refuse("401 Unauthorized", c)
		res := a.a.await(patience, "refusal", func(m *message) bool { return a.is(m, "4xx INVITE") || a.is(m, "5xx INVITE") })
		a.ackFailure(res)
	}
	l.idle()
}

// RFC 3261 22: nobody has credentials but for the gateway's side: a challenge from the pool ends the call, and so does one from a
// gateway for which none are configured.
func TestChallengeWithoutCredentials(t *testing.T) {
	t.Parallel()
	both(t, setting{}, func(t *testing.T, p parties) {
		a := p.caller.dial(number)
		a.sendInvite(a.sdp.String())
		b := p.callee.incoming(number)
		b.refuse("407 Proxy Authentication Required", "Proxy-Authenticate: "+challenge("MD5", "n", ""))
		res := a.a.await(patience, "refusal", func(m *message) bool { return a.is(m, "4xx INVITE") || a.is(m, "5xx INVITE") })
		a.ackFailure(res)
		if res.header("Proxy-Authenticate") != "" {
			t.Errorf("the challenge crossed:\n%s", res.raw)
		}
	})
}

// The same by SIPp, which checks the credentials itself. It does so for 401 alone: it does not look at Proxy-Authorization.
func TestSIPpTrunkAuthenticates(t *testing.T) {
	t.Parallel()
	s := trunkAuth()
	s.pool = "tcp"
	l := newLab(t, s).start()
	verified := func(w *scenario) {
		w.heard = "INVITE"
		fmt.Fprintf(w, `<recv request="INVITE" rrs="true" crlf="true"><action>
<ereg regexp="Digest" search_in="hdr" header="Authorization:" check_it="true" assign_to="_"/>
<verifyauth assign_to="good" username="%s" password="%s"/>
<ereg regexp=".*" search_in="hdr" header="Via:" check_it="true" assign_to="viaINVITE"/>
<ereg regexp=".*" search_in="hdr" header="CSeq:" check_it="true" assign_to="cseqINVITE"/>
</action></recv>
<nop test="good" next="proven"/>
<nop><action><error message="the credentials are wrong"/></action></nop>
<label id="proven"/>
<Reference variables="_"/>
`, trunkUser, trunkPassword)
	}
	b := l.sipp(t, gatewaySide, script{
		hears("INVITE"), answers("401 Unauthorized", "", `WWW-Authenticate: Digest realm="trunk", nonce="47364c23432d2e131a5fb210812c", algorithm=MD5`),
		hears("ACK"), unsettled(), verified, answers("180 Ringing", ""), answers("200 OK", usual()), hears("ACK"), hears("BYE"), answers("200 OK", ""),
	})
	a := l.sipp(t, poolSide, script{invites(usual()), mayHear("100"), mayHear("180"), hears("200"), acks(""), waits(100 * time.Millisecond), sends("BYE", ""), hears("200")})
	a.Finished(20 * time.Second)
	b.Finished(20 * time.Second)
	l.hidden(poolSide, textsOf(a))
}

// RFC 3261 10.2, by SIPp as the registrar: REGISTER with credentials that it checks.
func TestSIPpRegistrar(t *testing.T) {
	t.Parallel()
	l := newLab(t, trunkAuth(`register: {aor: "sip:+14255550100@trunk.example", expires: 60s}`))
	registrar := l.sipp(t, gatewaySide, script{func(w *scenario) {
		w.alone = true
		w.WriteString(`<recv request="REGISTER" crlf="true"><action><ereg regexp="[+]14255550100@trunk.example" search_in="hdr" header="To:" check_it="true" assign_to="_"/></action></recv>` + "\n")
		w.sent(false, "", "SIP/2.0 401 Unauthorized", "[last_Via:]", "[last_From:]", "[last_To:];tag=registrar", "[last_Call-ID:]", "[last_CSeq:]",
			`WWW-Authenticate: Digest realm="trunk", nonce="47364c23432d2e131a5fb210812c", algorithm=MD5`)
		fmt.Fprintf(w, `<recv request="REGISTER" crlf="true"><action><verifyauth assign_to="good" username="%s" password="%s"/></action></recv>
<nop test="good" next="proven"/>
<nop><action><error message="the credentials are wrong"/></action></nop>
<label id="proven"/>
<Reference variables="_"/>
`, trunkUser, trunkPassword)
		w.sent(false, "", "SIP/2.0 200 OK", "[last_Via:]", "[last_From:]", "[last_To:];tag=registrar", "[last_Call-ID:]", "[last_CSeq:]", "[last_Contact:]", "Expires: 3600")
	}})
	l.start()
	registrar.Finished(20 * time.Second)
}

// RFC 3261 10.2: REGISTER is kept alive: credentials, 423 with Min-Expires, a refresh before the binding ends, which is what the
// registrar granted, and the end of the binding when causeway stops.
func TestRegistration(t *testing.T) {
	t.Parallel()
	s := trunkAuth(`register: {aor: "sip:+14255550100@trunk.example", expires: 60s}`)
	s.patient = true
	l := newLab(t, s)
	_, gateway := l.agents()
	l.start()
	registers := func(within time.Duration) *message {
		t.Helper()
		return gateway.await(within, "REGISTER", func(m *message) bool { return m.code() == 0 && m.method() == "REGISTER" })
	}
	first := registers(patience)
	if address(first.header("To")) != "sip:+14255550100@trunk.example" || seconds(first.header("Expires")) != 60 && !strings.Contains(first.header("Contact"), "expires=60") {
		t.Errorf("REGISTER is not what was configured:\n%s", first.raw)
	}
	gateway.respond(first, answerTo(first, "401 Unauthorized", "r", `WWW-Authenticate: Digest realm="trunk", nonce="abc", qop="auth", algorithm=SHA-256`))
	second := registers(patience)
	if why := proven(second, "Authorization", "SHA-256", "abc"); why != "" {
		t.Errorf("REGISTER: %s", why)
	}
	one, _ := first.seq()
	if two, _ := second.seq(); second.callID() != first.callID() || two != one+1 {
		t.Errorf("REGISTER: Call-ID %s after %s, CSeq %d after %d (RFC 3261 10.2)", second.callID(), first.callID(), two, one)
	}
	gateway.respond(second, answerTo(second, "423 Interval Too Brief", "r", "Min-Expires: 120"))
	third := registers(patience)
	if seconds(third.header("Expires")) < 120 && !strings.Contains(third.header("Contact"), "expires=120") {
		t.Errorf("REGISTER after 423:\n%s", third.raw)
	}
	grant := func(req *message, seconds int) {
		gateway.respond(req, answerTo(req, "200 OK", "r", fmt.Sprintf("Contact: %s;expires=%d", strings.Split(req.header("Contact"), ";expires")[0], seconds)))
	}
	granted := time.Now()
	grant(third, 8)
	fourth := registers(9 * time.Second)
	if at := fourth.at.Sub(granted); at < time.Second || at > 7500*time.Millisecond {
		t.Errorf("a binding of 8 s was refreshed after %v", at)
	}
	grant(fourth, 3600)
	rig.Eventually(t, patience, "the metric says registered", func() string {
		if v := l.Metric("causeway_mediation_sip_registered"); v != 1 {
			return fmt.Sprint(v)
		}
		return ""
	})

	// At the end the binding is taken back: the registrar hears it while causeway stops.
	stopped := make(chan *message, 1)
	go func() {
		m := gateway.awaitOr(15*time.Second, func(m *message) bool { return m.code() == 0 && m.method() == "REGISTER" })
		if m != nil {
			grant(m, 0)
		}
		stopped <- m
	}()
	t.Cleanup(func() {
		if m := <-stopped; m == nil {
			t.Error("causeway stopped and kept its binding")
		} else if e := m.header("Expires"); seconds(e) != 0 && !strings.Contains(m.header("Contact"), "expires=0") {
			t.Errorf("at the end: %s", m.raw)
		}
	})
	l.stop(t)
}

// RFC 3261 22.2, 9.1: the caller gives up before the trunk's challenge comes: the INVITE is not sent again.
func TestChallengeAfterCancel(t *testing.T) {
	t.Parallel()
	l := newLab(t, trunkAuth())
	pool, gateway := l.agents()
	l.start()
	a := pool.dial(number)
	a.sendInvite(a.sdp.String())
	b := gateway.incoming(number)
	a.send(a.cancel())
	a.expect("200 CANCEL")
	a.refused(487)
	b.refuse("401 Unauthorized", `WWW-Authenticate: Digest realm="trunk", nonce="n", algorithm=MD5`)
	time.Sleep(500 * time.Millisecond)
	l.idle()
}
