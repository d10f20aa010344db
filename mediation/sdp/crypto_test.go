package sdp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const (
	suite80 = "AES_CM_128_HMAC_SHA1_80"
	inline  = "inline:QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNk"
)

// TestCryptoLines is the table of RFC 4568's grammar (sections 4, 6.1, 6.3, 9.1 and
// 9.2): what is read, and as what.
func TestCryptoLines(t *testing.T) {
	plain := Crypto{Tag: 1, Suite: suite80, Key: []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcd")}
	with := func(change func(*Crypto)) Crypto { c := plain; change(&c); return c }
	life := func(n uint64) Crypto { return with(func(c *Crypto) { c.Lifetime = n }) }
	mki := func(lifetime uint64, digits string) Crypto {
		return with(func(c *Crypto) { c.Lifetime = lifetime; c.MKI, _ = hex.DecodeString(digits) })
	}
	for value, want := range map[string]Crypto{
		"1 " + suite80 + " " + inline:                                    plain,
		"1  " + suite80 + " \t " + inline + " ":                          plain,
		"1 " + suite80 + " INLINE:" + inline[7:]:                         plain,
		"999999999 " + suite80 + " " + inline:                            with(func(c *Crypto) { c.Tag = 999999999 }),
		"01 " + suite80 + " " + inline:                                   plain,
		"1 X_1 " + inline:                                                with(func(c *Crypto) { c.Suite = "X_1" }), // an extension: another room's to know
		"1 " + suite80 + " inline:QQ":                                    with(func(c *Crypto) { c.Key = []byte("A") }),
		"1 " + suite80 + " inline:QQ==":                                  with(func(c *Crypto) { c.Key = []byte("A") }),
		"1 " + suite80 + " " + inline + "|2^20":                          life(1 << 20),
		"1 " + suite80 + " " + inline + "|2^48":                          life(1 << 48),
		"1 " + suite80 + " " + inline + "|2^0":                           life(1),
		"1 " + suite80 + " " + inline + "|1048576":                       life(1 << 20),
		"1 " + suite80 + " " + inline + "|281474976710656":               life(1 << 48),
		"1 " + suite80 + " " + inline + "|2^20|1:4":                      mki(1<<20, "00000001"),
		"1 " + suite80 + " " + inline + "|1:4":                           mki(0, "00000001"),
		"1 " + suite80 + " " + inline + "|2^31|1:1":                      mki(1<<31, "01"),
		"1 " + suite80 + " " + inline + "|0:1":                           mki(0, "00"),
		"1 " + suite80 + " " + inline + "|65535:2":                       mki(0, "ffff"),
		"1 " + suite80 + " " + inline + "|18446744073709551617:9":        mki(0, "010000000000000001"),
		"1 " + suite80 + " " + inline + "|1:128":                         mki(0, strings.Repeat("00", 127)+"01"),
		"1 " + suite80 + " " + inline + " KDR=0":                         plain,
		"1 " + suite80 + " " + inline + " WSH=64":                        plain,
		"1 " + suite80 + " " + inline + "|2^20|1:4 KDR=0 WSH=1024 -NEW=": mki(1<<20, "00000001"),
		"1 " + suite80 + " " + inline + " -x=1 -y":                       plain, // 6.3.7: may be ignored
	} {
		c, err := parseCrypto(value)
		if err != nil || !reflect.DeepEqual(c, want) {
			t.Errorf("%s: %+v, %v; want %+v", value, c, err, want)
			continue
		}
		survives(t, c)
	}
}

func TestUnusableCryptoLines(t *testing.T) {
	for _, value := range []string{
		"", "1", "1 " + suite80, "  " + suite80 + " " + inline,
		"0 " + suite80 + " " + inline, "-1 " + suite80 + " " + inline, "+1 " + suite80 + " " + inline,
		"1000000000 " + suite80 + " " + inline, "1a " + suite80 + " " + inline, "١ " + suite80 + " " + inline,
		"1 AES-CM " + inline, "1 AES_CM_128_HMAC_SHA1_80; " + inline,
		// Key methods and keys.
		"1 " + suite80 + " uri:x", "1 " + suite80 + " inline", "1 " + suite80 + " :x", "1 " + suite80 + " inline:",
		"1 " + suite80 + " inline:***", "1 " + suite80 + " inline:Q", "1 " + suite80 + " inline:QQ=", "1 " + suite80 + " inline:QUI_",
		"1 " + suite80 + " " + inline + ";" + inline, "1 " + suite80 + " " + inline + ";", "1 " + suite80 + " ;" + inline,
		// Lifetimes.
		"1 " + suite80 + " " + inline + "|", "1 " + suite80 + " " + inline + "|0", "1 " + suite80 + " " + inline + "|2^",
		"1 " + suite80 + " " + inline + "|2^49", "1 " + suite80 + " " + inline + "|3^4", "1 " + suite80 + " " + inline + "|-5",
		"1 " + suite80 + " " + inline + "|281474976710657", "1 " + suite80 + " " + inline + "|2^2^2",
		"1 " + suite80 + " " + inline + "|99999999999999999999999", "1 " + suite80 + " " + inline + "|1e6",
		"1 " + suite80 + " " + inline + "|2^20|2^20", "1 " + suite80 + " " + inline + "|2^-1", "1 " + suite80 + " " + inline + "|2^ 8",
		// Master key identifiers.
		"1 " + suite80 + " " + inline + "|1:0", "1 " + suite80 + " " + inline + "|1:129", "1 " + suite80 + " " + inline + "|256:1",
		"1 " + suite80 + " " + inline + "|:4", "1 " + suite80 + " " + inline + "|1:", "1 " + suite80 + " " + inline + "|-1:4",
		"1 " + suite80 + " " + inline + "|1:0004", "1 " + suite80 + " " + inline + "|1:4:4", "1 " + suite80 + " " + inline + "|x:4",
		"1 " + suite80 + " " + inline + "|1:4|2^20", "1 " + suite80 + " " + inline + "|2^20|1:4|1:4",
		"1 " + suite80 + " " + inline + "|" + strings.Repeat("9", 400) + ":128",
		// Session parameters.
		"1 " + suite80 + " " + inline + " UNENCRYPTED_SRTP", "1 " + suite80 + " " + inline + " UNENCRYPTED_SRTCP",
		"1 " + suite80 + " " + inline + " UNAUTHENTICATED_SRTP", "1 " + suite80 + " " + inline + " unauthenticated_srtp",
		"1 " + suite80 + " " + inline + " KDR=0 UNENCRYPTED_SRTP", "1 " + suite80 + " " + inline + " -UNENCRYPTED_SRTP",
		"1 " + suite80 + " " + inline + " KDR=1", "1 " + suite80 + " " + inline + " KDR=24", "1 " + suite80 + " " + inline + " KDR",
		"1 " + suite80 + " " + inline + " KDR=", "1 " + suite80 + " " + inline + " KDR=-0", "1 " + suite80 + " " + inline + " -KDR=1",
		"1 " + suite80 + " " + inline + " WSH=63", "1 " + suite80 + " " + inline + " WSH", "1 " + suite80 + " " + inline + " WSH=x",
		"1 " + suite80 + " " + inline + " WSH=64 WSH=64", "1 " + suite80 + " " + inline + " FEC_ORDER=FEC_SRTP",
		"1 " + suite80 + " " + inline + " FEC_KEY=" + inline, "1 " + suite80 + " " + inline + " NEW", "1 " + suite80 + " " + inline + " -",
	} {
		c, err := parseCrypto(value)
		if !errors.Is(err, ErrCrypto) {
			t.Errorf("%s: %+v, %v; want ErrCrypto", value, c, err)
		}
		if err != nil && strings.Contains(err.Error(), "QUJD") {
			t.Errorf("%s: the error shows the key: %v", value, err)
		}
	}
}

// survives holds that what was read is read again from what is written of it.
func survives(t *testing.T, c Crypto) {
	t.Helper()
	again, err := parseCrypto(c.String())
	if err != nil || !reflect.DeepEqual(again, c) {
		t.Errorf("%+v is written as %q and read again as %+v, %v", c, c, again, err)
	}
}

// grammar is RFC 4568 sections 9.1 and 9.2 as far as they are served, as one
// expression for a line whose white space and session parameters are folded.
var grammar = regexp.MustCompile(`^[0-9]+ [A-Za-z0-9_]+ (?i:inline):[A-Za-z0-9+/]+={0,2}(\|(2\^)?[0-9]+)?(\|[0-9]+:[0-9]{1,3})?` +
	`( (KDR=0+|WSH=[0-9]+|-\S+))*$`)

// FuzzCrypto holds that whatever is accepted is of the grammar, has nothing of a
// weaker session in it, and survives writing.
func FuzzCrypto(f *testing.F) {
	f.Add("1 " + suite80 + " " + inline)
	f.Add("7 AEAD_AES_256_GCM " + inline + "|2^20|1:4 KDR=0 WSH=128 -ext")
	f.Add("1 " + suite80 + " " + inline + "|65536|255:1")
	f.Add("1 " + suite80 + " " + inline + " UNENCRYPTED_SRTP")
	f.Add("1 " + suite80 + " " + inline + ";" + inline)
	f.Fuzz(func(t *testing.T, value string) {
		c, err := parseCrypto(value)
		if err != nil {
			if !errors.Is(err, ErrCrypto) {
				t.Fatalf("%q: %v", value, err)
			}
			return
		}
		if ascii(value) && !grammar.MatchString(foldSession(value)) {
			t.Fatalf("%q is not of the grammar", value)
		}
		if c.Tag < 1 || len(c.Key) == 0 || len(c.MKI) > maxMKI || c.Lifetime > maxLifetime {
			t.Fatalf("%q: %+v", value, c)
		}
		if bytes.ContainsAny([]byte(c.String()), "\r\n;") {
			t.Fatalf("%q is written as %q", value, c)
		}
		survives(t, c)
	})
}

// ascii leaves out what changes case or counts as white space elsewhere only.
func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r > 126 || r < 9 || r > 13 && r < 32 }) < 0
}

// foldSession writes the names of session parameters in upper case, as they are
// compared.
func foldSession(value string) string {
	fields := strings.Fields(value)
	for i := min(3, len(fields)); i < len(fields); i++ {
		fields[i] = strings.ToUpper(fields[i])
	}
	return strings.Join(fields, " ")
}
