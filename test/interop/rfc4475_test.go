package interop

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var (
	hexMark    = regexp.MustCompile(`<hex>([0-9A-F\s]*)</hex>`)
	repeatMark = regexp.MustCompile(`<repeat count=(\d+)>([^<]*)</repeat>`)
	oneLine    = regexp.MustCompile(`(?s)<allOneLine>\n(.*?)</allOneLine>\n`)
)

// torture reads a message in RFC 4475's notation (section 2) and returns the
// octets that go on the wire.
func torture(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "rfc4475", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	text := repeatMark.ReplaceAllStringFunc(string(data), func(s string) string {
		m := repeatMark.FindStringSubmatch(s)
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return strings.Repeat(m[2], n)
	})
	text = oneLine.ReplaceAllStringFunc(text, func(s string) string {
		return strings.ReplaceAll(oneLine.FindStringSubmatch(s)[1], "\n", "") + "\n"
	})
	text = strings.ReplaceAll(text, "\n", "\r\n")
	return []byte(hexMark.ReplaceAllStringFunc(text, func(s string) string {
		octets, err := hex.DecodeString(strings.Join(strings.Fields(hexMark.FindStringSubmatch(s)[1]), ""))
		if err != nil {
			t.Fatal(err)
		}
		return string(octets)
	}))
}

// verdict is what must become of a message: one of these final answers, or a
// drop counted under this name and no answer, where both are set either.
type verdict struct {
	answers []int
	drop    string
}

func answer(codes ...int) verdict   { return verdict{answers: codes} }
func dropped(reason string) verdict { return verdict{drop: reason} }
func (v verdict) or(w verdict) verdict {
	return verdict{append(slices.Clone(v.answers), w.answers...), v.drop + w.drop}
}
func (v verdict) allows(code int) bool { return slices.Contains(v.answers, code) }

// malformed is what becomes of a request that the parser cannot read: 400 where
// enough of it can be read to address one, else a drop that is counted.
var malformed = answer(400).or(dropped("malformed"))

// tortureCase is one message and what RFC 4475 and this server's role make of
// it. The gateway of the test is not there, so an INVITE that can be served
// ends in 503. Methods other than a B2BUA's get 405 when known, else 501.
type tortureCase struct {
	name string
	udp  verdict
	tcp  *verdict // nil: as over UDP
	why  string
}

var tortureCases = []tortureCase{
	// 3.1.1 Valid messages.
	{"wsinv", answer(481, 400), nil, "its To tag names a dialog that does not exist; the parser keeps white space around parameters and so finds no From tag"},
	{"intmeth", answer(501, 400), nil, "an unknown method; NUL in a display name may be refused first"},
	{"esc01", answer(503), nil, "escaped characters in the user part do not make another URI of it"},
	{"escnull", answer(405), nil, "REGISTER is not served, %00 or not"},
	{"esc02", answer(501), nil, "escapes in a method name are not unescaped: not REGISTER"},
	{"lwsdisp", answer(200), nil, "no space between display name and <"},
	{"longreq", answer(503), nil, "long values, 34 Via headers"},
	{"dblreq", answer(405), new(answer(405).or(dropped("malformed"))), "over UDP what follows the body is ignored; over TCP it is the next request, whose body is longer than it says"},
	{"semiuri", answer(200), nil, "a semicolon in the user part"},
	{"transports", answer(200), nil, "Via headers of other transports below the topmost"},
	{"mpart01", answer(405), nil, "MESSAGE is not served; its body has NUL and CR"},
	{"unreason", dropped("stray_response"), nil, "a response to nothing, with a reason phrase in UTF-8"},
	{"noreason", dropped("stray_response"), nil, "a response to nothing, with an empty reason phrase"},
	// 3.1.2 Invalid messages.
	{"badinv01", malformed, nil, "extra separators in Via and Contact"},
	{"clerr", malformed, new(verdict{}), "Content-Length larger than the datagram; over TCP the rest is awaited"},
	{"ncl", malformed, nil, "a negative Content-Length"},
	{"scalar02", malformed, nil, "numbers beyond 32 and 64 bits"},
	{"scalarlg", dropped("malformed"), nil, "a response with numbers beyond their range is dropped"},
	{"quotbal", malformed, nil, "an unterminated quote in To"},
	{"ltgtruri", malformed, nil, "a Request-URI in <>"},
	{"lwsruri", malformed, nil, "white space within the Request-URI"},
	{"lwsstart", malformed, nil, "several spaces in the request line"},
	{"trws", malformed, nil, "white space at the end of the request line: may be ignored"},
	{"escruri", answer(400), nil, "escaped headers in the Request-URI"},
	{"baddate", answer(503, 400), nil, "a Date in EST: nobody here reads it"},
	{"regbadct", answer(405, 400), nil, "a Contact with headers outside <>"},
	{"badaspec", malformed, nil, "spaces within <>: may be ignored"},
	{"baddn", answer(200, 400), nil, "a comma in a display name without quotes: may be understood"},
	{"badvers", answer(505), nil, "SIP/7.0"},
	{"mismatch01", answer(400), nil, "CSeq of another method"},
	{"mismatch02", answer(501, 400), nil, "CSeq of another method, and an unknown one"},
	{"bigcode", dropped("malformed"), nil, "a response code beyond 32 bits is dropped"},
	// 3.2 Transaction layer.
	{"badbranch", answer(200, 400), nil, "a branch that is the magic cookie and nothing else"},
	// 3.3 Application layer.
	{"insuf", answer(400), nil, "no To, From or Call-ID"},
	{"unkscm", answer(416), nil, "a Request-URI with an unknown scheme"},
	{"novelsc", malformed, nil, "a Request-URI with a known scheme that is not SIP's"},
	{"unksm2", answer(405), nil, "unknown schemes in To, From and Contact"},
	{"bext01", answer(420), nil, "Require of what nobody supports"},
	{"invut", answer(415), nil, "a body of an unknown type"},
	{"regaut01", answer(405), nil, "an unknown authorization scheme"},
	{"multi01", answer(400), nil, "headers that may occur once, twice"},
	{"mcl01", answer(400), new(malformed), "two Content-Lengths that differ"},
	{"bcast", dropped("stray_response"), nil, "a response that is somebody else's"},
	{"zeromf", answer(200, 483), nil, "Max-Forwards 0 reaches an endpoint"},
	{"cparam01", answer(405), nil, "an unknown Contact parameter"},
	{"cparam02", answer(405), nil, "an unknown URI parameter in Contact"},
	{"regescrt", answer(405), nil, "an escaped header in Contact"},
	{"sdp01", answer(406, 503), nil, "an Accept without SDP: 406, or the call fails on its own"},
	// 3.4 Backward compatibility.
	{"inv2543", answer(400, 503), new(malformed), "an INVITE of RFC 2543: no branch, no From tag, no Max-Forwards"},
}

// Every file has a verdict and every verdict a file.
func TestTortureTableIsWhole(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "rfc4475", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, f := range files {
		have[strings.TrimSuffix(filepath.Base(f), ".txt")] = true
	}
	for _, c := range tortureCases {
		if !have[c.name] {
			t.Errorf("no file for %s", c.name)
		}
		delete(have, c.name)
	}
	for name := range have {
		t.Errorf("no verdict for %s", name)
	}
}
