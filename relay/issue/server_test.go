package issue

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"causeway/relay/auth"
)

func TestCredentialIsGoodAtTheRelay(t *testing.T) {
	r := run(t, &clock{})
	before := time.Now().Truncate(time.Second)
	status, got, text := r.post(r.frontEnd(), `{"user": "alice", "lifetime_seconds": 3600}`)
	if status != http.StatusOK || got.LifetimeSeconds != 3600 || got.LifetimeClamped {
		t.Fatalf("%d %s", status, text)
	}
	if late := got.Expires.Sub(before.Add(time.Hour)); late < 0 || late > time.Minute || got.Expires.Location() != time.UTC {
		t.Errorf("expires %v", got.Expires)
	}
	if fmt.Sprint(got.URIs) != "[turn:192.0.2.1:3478?transport=udp]" {
		t.Errorf("URIs %v", got.URIs)
	}
	// A relay that was given the same key, and nothing else, lets the user in.
	relay, err := auth.NewCredentials(auth.Options{Realm: "example.org", Signers: []*auth.Signer{r.signer}})
	if err != nil {
		t.Fatal(err)
	}
	key := string(auth.Key(nil, auth.SHA256, got.Username, "example.org", got.Password))
	check := func(k []byte) bool { return string(k) == key }
	id, err := relay.Verify(time.Now(), []byte(got.Username), nil, auth.SHA256, check)
	if err != nil || id.User != "alice" {
		t.Errorf("identity %+v, %v", id, err)
	}
	if _, err := relay.Verify(got.Expires, []byte(got.Username), nil, auth.SHA256, check); err == nil {
		t.Error("good at the moment of its end")
	}
}

func TestLifetime(t *testing.T) {
	r := run(t, &clock{})
	c := r.frontEnd()
	for _, tt := range []struct {
		asked   string
		seconds int64
		clamped bool
	}{
		{``, 8 * 3600, false},
		{`, "lifetime_seconds": 1`, 1, false},
		{`, "lifetime_seconds": 86400`, 86400, false},
		{`, "lifetime_seconds": 86401`, 86400, true},
		{`, "lifetime_seconds": 9223372036854775807`, 86400, true},
	} {
		status, got, text := r.post(c, `{"user": "alice"`+tt.asked+`}`)
		if status != http.StatusOK || got.LifetimeSeconds != tt.seconds || got.LifetimeClamped != tt.clamped {
			t.Errorf("%q: %d %s", tt.asked, status, text)
		}
		if left := time.Until(got.Expires); left > time.Duration(tt.seconds)*time.Second || left < time.Duration(tt.seconds)*time.Second-time.Minute {
			t.Errorf("%q: expires in %v", tt.asked, left)
		}
	}
	if m := r.metrics(); m["issued_total"] != 5 || m["clamped_total"] != 2 {
		t.Errorf("metrics %v", m)
	}
}

func TestSides(t *testing.T) {
	r := run(t, &clock{})
	if _, got, text := r.post(r.frontEnd(), `{"user": "alice", "side": "internal"}`); got.URIs == nil || len(got.URIs) != 0 {
		t.Errorf("a side without listeners: %s", text)
	}
	if _, got, text := r.post(r.frontEnd(), `{"user": "alice", "side": "external"}`); len(got.URIs) != 1 {
		t.Errorf("the external side: %s", text)
	}
}

func TestRefusals(t *testing.T) {
	r := run(t, &clock{})
	c := r.frontEnd()
	long := strings.Repeat("x", maxBodyBytes)
	for _, tt := range []struct {
		name, method, path, kind, body string
		status                         int
		reason, text                   string
	}{
		{"path", "POST", "/", "application/json", `{}`, 404, "path", "POST to /credentials"},
		{"method", "GET", "/credentials", "", "", 405, "method", "GET is not served"},
		{"no type", "POST", "/credentials", "", `{"user":"a"}`, 415, "content_type", "application/json"},
		{"form", "POST", "/credentials", "application/x-www-form-urlencoded", `user=a`, 415, "content_type", "application/json"},
		{"size", "POST", "/credentials", "application/json", `{"user":"` + long + `"}`, 413, "size", "more than 4096 bytes"},
		{"size behind the object", "POST", "/credentials", "application/json", `{"user":"a"}` + strings.Repeat(" ", maxBodyBytes), 413, "size", "more than 4096 bytes"},
		{"empty", "POST", "/credentials", "application/json", ``, 400, "malformed", "EOF"},
		{"text", "POST", "/credentials", "application/json", `user`, 400, "malformed", "invalid character"},
		{"list", "POST", "/credentials", "application/json", `[]`, 400, "malformed", "cannot unmarshal array"},
		{"two objects", "POST", "/credentials", "application/json", `{"user":"a"}{"user":"b"}`, 400, "malformed", "more than one JSON object"},
		{"unknown key", "POST", "/credentials", "application/json", `{"user":"a","admin":true}`, 400, "malformed", "unknown field"},
		{"fraction", "POST", "/credentials", "application/json", `{"user":"a","lifetime_seconds":1.5}`, 400, "malformed", "cannot unmarshal number"},
		{"side", "POST", "/credentials", "application/json", `{"user":"a","side":"left"}`, 400, "malformed", "external or internal"},
		{"no user", "POST", "/credentials", "application/json", `{}`, 400, "user", "is empty"},
		{"control character", "POST", "/credentials", "application/json", `{"user":"a\u0000b"}`, 400, "user", "control character"},
		{"long user", "POST", "/credentials", "application/json", `{"user":"` + long[:256] + `"}`, 400, "user", "longer than 255 bytes"},
		{"no lifetime", "POST", "/credentials", "application/json", `{"user":"a","lifetime_seconds":0}`, 400, "lifetime", "must be 1 or more"},
		{"negative lifetime", "POST", "/credentials", "application/json", `{"user":"a","lifetime_seconds":-1}`, 400, "lifetime", "must be 1 or more"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := r.metrics()["refused_total "+tt.reason]
			request, err := http.NewRequestWithContext(t.Context(), tt.method, r.url(tt.path), strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if tt.kind != "" {
				request.Header.Set("Content-Type", tt.kind)
			}
			response, err := c.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			var got struct{ Error, Password string }
			if err := json.NewDecoder(response.Body).Decode(&got); err != nil {
				t.Fatal(err)
			}
			if response.StatusCode != tt.status || !strings.Contains(got.Error, tt.text) || got.Password != "" {
				t.Errorf("%d %+v, want %d with %q", response.StatusCode, got, tt.status, tt.text)
			}
			if allow := response.Header.Get("Allow"); (allow == "POST") != (tt.status == 405) {
				t.Errorf("Allow: %q", allow)
			}
			if after := r.metrics()["refused_total "+tt.reason]; after != before+1 {
				t.Errorf("%s counted %v times", tt.reason, after-before)
			}
		})
	}
	if m := r.metrics(); m["issued_total"] != 0 {
		t.Errorf("metrics %v", m)
	}
}

func TestWhoMayAsk(t *testing.T) {
	r := run(t, &clock{})
	other := newAuthority(t, "authority") // the same name, another key
	name := pkix.Name{CommonName: "front-end"}
	for _, tt := range []struct {
		name         string
		certificates []tls.Certificate
		allowed      bool
	}{
		{"nobody", nil, false},
		{"other authority", []tls.Certificate{other.issue(name, nil)}, false},
		{"itself", []tls.Certificate{{Certificate: [][]byte{other.cert.Raw}, PrivateKey: other.key}}, false},
		{"expired", []tls.Certificate{r.ca.issue(name, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })}, false},
		{"a server's certificate", []tls.Certificate{r.ca.issue(name, func(c *x509.Certificate) {
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})}, false},
		{"front-end", []tls.Certificate{r.ca.issue(name, nil)}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := r.metrics()
			response, err := r.client(tt.certificates...).Post(r.url("/credentials"), "application/json", strings.NewReader(`{"user":"alice"}`))
			if err == nil {
				response.Body.Close()
			}
			if (err == nil) != tt.allowed {
				t.Fatalf("got %v, %v", response, err)
			}
			after := r.metrics()
			if issued := after["issued_total"] - before["issued_total"]; issued != 0 != tt.allowed {
				t.Errorf("%v issued", issued)
			}
			if !tt.allowed {
				// The client may hear of the refusal a moment before it is counted.
				for deadline := time.Now().Add(10 * time.Second); after["refused_total handshake"] == before["refused_total handshake"]; after = r.metrics() {
					if time.Now().After(deadline) {
						t.Fatal("the handshake is not counted")
					}
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
}

func TestLogSaysWhoAskedForWhom(t *testing.T) {
	r := run(t, &clock{})
	c := r.client(r.ca.issue(pkix.Name{CommonName: "front-end", Organization: []string{"Contoso"}}, nil))
	_, got, _ := r.post(c, `{"user": "alice"}`)
	nameless := r.client(r.ca.issue(pkix.Name{}, func(c *x509.Certificate) { c.DNSNames = []string{"fe2.example.org"} }))
	r.post(nameless, `{"user": ""}`)
	numbered := r.client(r.ca.issue(pkix.Name{}, nil))
	r.post(numbered, `{"user": "bob"}`)
	text := r.log.String()
	for _, want := range []string{
		`msg="credential issued" user=alice asked_by="CN=front-end,O=Contoso" address=127.0.0.1:`,
		"key=" + r.signer.KeyID(),
		`msg="credential refused" asked_by=fe2.example.org`,
		`user=bob asked_by="serial 77"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the log lacks %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, got.Password) {
		t.Errorf("the log has the password:\n%s", text)
	}
}

func TestAuthoritiesReload(t *testing.T) {
	c := &clock{}
	r := run(t, c)
	old, young := r.ca, newAuthority(t, "new authority")
	name := pkix.Name{CommonName: "front-end"}
	asOld, asYoung := r.client(old.issue(name, nil)), r.client(young.issue(name, nil))
	expect := func(step string, client *http.Client, want bool) {
		t.Helper()
		response, err := client.Post(r.url("/credentials"), "application/json", strings.NewReader(`{"user":"alice"}`))
		if err == nil {
			response.Body.Close()
		}
		if (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", step, err, want)
		}
	}
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(r.file+".new", text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(r.file+".new", r.file); err != nil {
			t.Fatal(err)
		}
	}
	expect("at first", asOld, true)
	expect("at first", asYoung, false)
	write(young.pem())
	expect("within the second", asOld, true)
	c.advance(2 * authorityCheck)
	expect("after the change", asYoung, true)
	expect("after the change", asOld, false)
	write([]byte("damaged"))
	c.advance(2 * authorityCheck)
	expect("with a damaged file", asYoung, true)
	if err := os.Remove(r.file); err != nil {
		t.Fatal(err)
	}
	c.advance(2 * authorityCheck)
	expect("without a file", asYoung, true)
	write(old.pem())
	c.advance(2 * authorityCheck)
	expect("with the file back", asOld, true)
	text := r.log.String()
	if n := strings.Count(text, "authorities not reloaded"); n != 2 {
		t.Errorf("%d warnings for two bad files:\n%s", n, text)
	}
}

func TestCertificateChanges(t *testing.T) {
	r := run(t, &clock{})
	serial := func() *big.Int {
		t.Helper()
		response, err := r.frontEnd().Post(r.url("/credentials"), "application/json", strings.NewReader(`{"user":"alice"}`))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.Proto != "HTTP/1.1" {
			t.Errorf("%s was agreed on", response.Proto)
		}
		return response.TLS.PeerCertificates[0].SerialNumber
	}
	before := serial()
	fresh := r.ca.issue(pkix.Name{CommonName: "relay"}, func(c *x509.Certificate) { c.SerialNumber = big.NewInt(78) })
	r.shown.Store(&fresh)
	if after := serial(); after.Cmp(before) == 0 {
		t.Error("the old certificate is still shown")
	}
}
