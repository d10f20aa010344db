package sip

import (
	"strings"
	"testing"
)

// The examples of the RFCs. Each is the challenge as it stands there, and the
// answer's fields.
var digestVectors = []struct {
	name      string
	challenge string
	with      Credentials
	uri       string
	cnonce    string
	response  string
	username  string // as sent
}{
	{
		"RFC 2617 3.5",
		`Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"`,
		Credentials{"Mufasa", "Circle Of Life"}, "/dir/index.html", "0a4f113b",
		"6629fae49393a05397450978507c4ef1", "Mufasa",
	},
	{
		"RFC 7616 3.9.1, MD5",
		`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
		Credentials{"Mufasa", "Circle of Life"}, "/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
		"8ca523f5e9506fed4657c9700eebdbec", "Mufasa",
	},
	{
		"RFC 7616 3.9.1, SHA-256",
		`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
		Credentials{"Mufasa", "Circle of Life"}, "/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
		"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1", "Mufasa",
	},
	{
		"RFC 7616 3.9.2 as corrected by erratum 4897, SHA-512-256 and userhash",
		`Digest realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK", opaque="HRPCssKJSGjCrkzDg8OhwpzCiGPChXYjwrI2QmXDnsOS", charset=UTF-8, userhash=true`,
		Credentials{"J\u00e4s\u00f8n Doe", "Secret, or not?"}, "/doe.json", "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
		"3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5",
		"793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b",
	},
}

func TestDigestExamplesOfTheRFCs(t *testing.T) {
	for _, v := range digestVectors {
		t.Run(v.name, func(t *testing.T) {
			found, err := parseChallenges(v.challenge)
			if err != nil || len(found) != 1 {
				t.Fatalf("%d challenges, %v", len(found), err)
			}
			c := found[0]
			c.cnonce = v.cnonce
			got := c.answer(v.with, "GET", v.uri)
			for _, want := range []string{
				`response="` + v.response + `"`, `username="` + v.username + `"`, `nc=00000001`, `qop=auth`,
				`realm="` + c.realm + `"`, `nonce="` + c.nonce + `"`, `opaque="` + c.opaque + `"`, `cnonce="` + v.cnonce + `"`, `uri="` + v.uri + `"`,
			} {
				if !strings.Contains(got+",", want+",") {
					t.Errorf("%s is not in %s", want, got)
				}
			}
			// Whatever is another, the response is another.
			for i, other := range []string{
				c.answer(Credentials{v.with.Username + "x", v.with.Password}, "GET", v.uri),
				c.answer(Credentials{v.with.Username, v.with.Password + "x"}, "GET", v.uri),
				c.answer(v.with, "PUT", v.uri),
				c.answer(v.with, "GET", v.uri+"x"),
				with(c, func(c *challenge) { c.realm += "x" }).answer(v.with, "GET", v.uri),
				with(c, func(c *challenge) { c.nonce += "x" }).answer(v.with, "GET", v.uri),
				with(c, func(c *challenge) { c.cnonce += "x" }).answer(v.with, "GET", v.uri),
				with(c, func(c *challenge) { c.count++ }).answer(v.with, "GET", v.uri),
			} {
				if strings.Contains(other, v.response) {
					t.Errorf("change %d does not change the response", i)
				}
			}
		})
	}
}

func with(c challenge, change func(*challenge)) challenge {
	change(&c)
	return c
}
