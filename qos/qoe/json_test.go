package qoe

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "write the golden files anew")

func answered() *Record {
	invite := time.Date(2026, 3, 9, 23, 59, 58, 120_000_000, time.FixedZone("", 3600))
	ring, answer := invite.Add(310*time.Millisecond), invite.Add(2*time.Second)
	return &Record{
		Version: Version, ID: "0195-call", Direction: PoolToGateway,
		CallIDs:  map[string]string{Pool: "p@ool", Gateway: "g@ateway"},
		Received: Numbers{RequestURI: "sip:5678@127.0.0.1;user=phone", From: "sip:+14255550100@127.0.0.1", To: "sip:5678@127.0.0.1"},
		Sent:     Numbers{RequestURI: "sip:+14255555678@127.0.0.3", From: "sip:+14255550100@127.0.0.2", To: "sip:+14255555678@127.0.0.3"},
		Rules:    []string{"4digitExtension"},
		Invite:   invite, FirstProvisional: &ring, Answer: &answer, End: invite.Add(62 * time.Second),
		Code: 200, Reason: "OK", ReasonHeader: "Q.850;cause=16", EndedBy: Gateway, Reoffers: 4, Holds: 1,
		Legs: []Leg{
			{
				Side: Pool, Codec: "PCMU", SRTP: "AES_CM_128_HMAC_SHA1_80", Local: "127.0.0.1:60000", Remote: "127.0.0.1:20000",
				Receive: Stream{SSRC: new(uint32(4294967295)), Packets: 2998, Bytes: 479680, Lost: new(int64(2)), JitterMS: new(0.125), JitterMaxMS: new(3.5), Drops: map[string]uint64{"replayed": 1, "auth_failed": 7}},
				Send:    Stream{SSRC: new(uint32(0)), Packets: 3000, Bytes: 480000, RoundTripMS: new(0.4), FarLost: new(int64(-1)), FarJitterMS: new(0.0)},
			},
			{Side: Gateway, Codec: "PCMA", Local: "127.0.0.2:60000", Remote: "127.0.0.3:20002"},
		},
	}
}

func TestAppendJSONGolden(t *testing.T) {
	tests := map[string]*Record{
		"answered": answered(),
		"unknown":  {},
	}
	for name, record := range tests {
		t.Run(name, func(t *testing.T) {
			line, err := record.AppendJSON(nil)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, line, "", "  "); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			got.WriteByte('\n')
			path := "testdata/" + name + ".json"
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), want) {
				t.Errorf("differs from %s (go test -update writes it anew):\n%s", path, got.Bytes())
			}
		})
	}
}

// TestEveryFieldComesBack fills every field by reflection, so that a field added to the types but forgotten in the
// hand-written encoder fails here.
func TestEveryFieldComesBack(t *testing.T) {
	var want Record
	n := 0
	fill(t, reflect.ValueOf(&want).Elem(), &n)
	line, err := want.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	var got Record
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("came back as\n%+v\nwant\n%+v", got, want)
	}
}

func fill(t *testing.T, v reflect.Value, n *int) {
	t.Helper()
	*n++
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(time.Unix(int64(*n), int64(*n)).UTC()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("value " + string(rune('a'+*n%26)) + "\x00\"\\é")
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(-*n))
	case reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n))
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(t, v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for _, key := range []string{"pool", "other \n key"} {
			e := reflect.New(v.Type().Elem()).Elem()
			fill(t, e, n)
			v.SetMapIndex(reflect.ValueOf(key), e)
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			fill(t, f, n)
		}
	default:
		t.Fatalf("no rule to fill a %s", v.Type())
	}
}

func TestAppendJSONAppends(t *testing.T) {
	dst := []byte("before")
	got, err := answered().AppendJSON(dst)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(got, []byte(`before{"version":1,`)) {
		t.Errorf("got %s", got)
	}
	if bytes.ContainsAny(got, "\n\r") {
		t.Errorf("more than one line: %s", got)
	}
}

func TestAppendJSONRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Record)
		want   string
	}{
		{"nan", func(r *Record) { r.Legs[1].Send.JitterMS = new(math.NaN()) }, "jitter_ms: not a finite number"},
		{"infinity", func(r *Record) { r.Legs[0].Send.RoundTripMS = new(math.Inf(-1)) }, "round_trip_ms: not a finite number"},
		{"year", func(r *Record) { r.End = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "end: year"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := answered()
			tt.change(r)
			got, err := r.AppendJSON([]byte("kept"))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
			if string(got) != "kept" {
				t.Errorf("returned %q, want what was given", got)
			}
		})
	}
}

// TestFloats checks that numbers of every size are JSON and come back the same.
func TestFloats(t *testing.T) {
	for _, v := range []float64{0, math.Copysign(0, -1), 0.1, -2.5, 1e-9, 1e-6, 1e20, 1e21, 1e300, math.MaxFloat64, math.SmallestNonzeroFloat64} {
		e := encoder{buf: []byte("{")}
		e.float("v", &v)
		e.close('}')
		var got struct{ V float64 }
		if err := json.Unmarshal(e.buf, &got); err != nil {
			t.Errorf("%g: %v in %s", v, err, e.buf)
		}
		if got.V != v {
			t.Errorf("%g came back as %g", v, got.V)
		}
	}
}

// FuzzStrings checks that no text from a stranger can break a line of the spool or read back as something else.
func FuzzStrings(f *testing.F) {
	f.Add("sip:+14255550100@example.org", "Q.850;cause=16;text=\"Normal\"")
	f.Add("\x00\x1f\x7f\u2028\n\r\t", "\xff\xfe\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, from, reason string) {
		want := Record{Received: Numbers{From: from}, ReasonHeader: reason, Rules: []string{from}, CallIDs: map[string]string{reason: from}}
		line, err := want.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny(line, "\n\r\x00") || !utf8.Valid(line) {
			t.Fatalf("not one line of text: %q", line)
		}
		var got Record
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if got.Received.From != valid(from) || got.ReasonHeader != valid(reason) || got.Rules[0] != valid(from) {
			t.Fatalf("came back as %+v", got)
		}
	})
}

// valid is what ranging over a string makes of it: one U+FFFD for every byte that is not UTF-8.
func valid(s string) string { return string([]rune(s)) }
