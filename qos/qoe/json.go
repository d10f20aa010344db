package qoe

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// timeLayout is RFC 3339 with all nine digits, so that the text of two times sorts like the times.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

var (
	errNotFinite = errors.New("not a finite number")
	errYear      = errors.New("year is outside 0 to 9999")
)

// AppendJSON appends the record as one line of JSON, without a newline at its end, and returns the longer slice.
// Keys are snake_case and always in the same order; unknown is null; times are RFC 3339 in UTC with nanoseconds. Bytes
// of a string that are not UTF-8 become U+FFFD.
//
// It fails, naming the key, on a measurement that is no finite number and on a year that RFC 3339 cannot write; dst is
// then returned as it came.
func (r *Record) AppendJSON(dst []byte) ([]byte, error) {
	e := encoder{buf: dst}
	e.record(r)
	if e.err != nil {
		return dst, e.err
	}
	return e.buf, nil
}

// encoder appends JSON and remembers the first failure. The standard encoder is not used for writing because it has no
// "null when zero"; it is what reads the records back, and a test holds the two together.
type encoder struct {
	buf []byte
	err error
}

func (e *encoder) record(r *Record) {
	e.open('{')
	e.key("version")
	e.integer(int64(cmp.Or(r.Version, Version)))
	e.text("id", r.ID)
	e.text("direction", r.Direction)
	e.key("call_ids")
	e.open('{')
	for _, side := range slices.Sorted(maps.Keys(r.CallIDs)) {
		e.text(side, r.CallIDs[side])
	}
	e.close('}')
	e.numbers("received", &r.Received)
	e.numbers("sent", &r.Sent)
	e.key("rules")
	e.open('[')
	for _, rule := range r.Rules {
		e.comma()
		e.string(rule)
	}
	e.close(']')
	e.time("invite", &r.Invite)
	e.time("first_provisional", r.FirstProvisional)
	e.time("answer", r.Answer)
	e.time("end", &r.End)
	e.key("code")
	if r.Code == 0 {
		e.null()
	} else {
		e.integer(int64(r.Code))
	}
	e.text("reason", r.Reason)
	e.text("reason_header", r.ReasonHeader)
	e.text("ended_by", r.EndedBy)
	e.count("reoffers", r.Reoffers)
	e.count("holds", r.Holds)
	e.key("legs")
	e.open('[')
	for i := range r.Legs {
		e.comma()
		e.leg(&r.Legs[i])
	}
	e.close(']')
	e.close('}')
}

func (e *encoder) numbers(key string, n *Numbers) {
	e.key(key)
	e.open('{')
	e.text("request_uri", n.RequestURI)
	e.text("from", n.From)
	e.text("to", n.To)
	e.close('}')
}

func (e *encoder) leg(l *Leg) {
	e.open('{')
	e.text("side", l.Side)
	e.text("codec", l.Codec)
	e.text("srtp", l.SRTP)
	e.text("local", l.Local)
	e.text("remote", l.Remote)
	e.text("source", l.Source)
	e.count("moves", l.Moves)
	e.count("restarts", l.Restarts)
	e.optional("silent_ms", l.SilentMS)
	e.stream("receive", &l.Receive)
	e.stream("send", &l.Send)
	e.close('}')
}

func (e *encoder) stream(key string, s *Stream) {
	e.key(key)
	e.open('{')
	e.key("ssrc")
	if s.SSRC == nil {
		e.null()
	} else {
		e.integer(int64(*s.SSRC))
	}
	e.count("packets", s.Packets)
	e.count("bytes", s.Bytes)
	e.optional("lost", s.Lost)
	e.float("jitter_ms", s.JitterMS)
	e.float("jitter_max_ms", s.JitterMaxMS)
	e.float("round_trip_ms", s.RoundTripMS)
	e.optional("far_lost", s.FarLost)
	e.float("far_jitter_ms", s.FarJitterMS)
	if len(s.Drops) > 0 {
		e.key("drops")
		e.open('{')
		for _, reason := range slices.Sorted(maps.Keys(s.Drops)) {
			e.count(reason, s.Drops[reason])
		}
		e.close('}')
	}
	e.close('}')
}

func (e *encoder) text(key, value string) {
	e.key(key)
	if value == "" {
		e.null()
		return
	}
	e.string(value)
}

func (e *encoder) time(key string, t *time.Time) {
	e.key(key)
	if t == nil || t.IsZero() {
		e.null()
		return
	}
	utc := t.UTC()
	if y := utc.Year(); y < 0 || y > 9999 {
		e.fail(key, errYear)
		return
	}
	e.buf = append(e.buf, '"')
	e.buf = utc.AppendFormat(e.buf, timeLayout)
	e.buf = append(e.buf, '"')
}

func (e *encoder) float(key string, v *float64) {
	e.key(key)
	switch {
	case v == nil:
		e.null()
	case math.IsNaN(*v) || math.IsInf(*v, 0):
		e.fail(key, errNotFinite)
	case *v != 0 && (math.Abs(*v) < 1e-6 || math.Abs(*v) >= 1e21):
		e.buf = strconv.AppendFloat(e.buf, *v, 'e', -1, 64)
	default:
		e.buf = strconv.AppendFloat(e.buf, *v, 'f', -1, 64)
	}
}

func (e *encoder) optional(key string, v *int64) {
	e.key(key)
	if v == nil {
		e.null()
		return
	}
	e.integer(*v)
}

func (e *encoder) count(key string, v uint64) {
	e.key(key)
	e.buf = strconv.AppendUint(e.buf, v, 10)
}

func (e *encoder) integer(v int64) { e.buf = strconv.AppendInt(e.buf, v, 10) }
func (e *encoder) null()           { e.buf = append(e.buf, "null"...) }
func (e *encoder) open(b byte)     { e.buf = append(e.buf, b) }
func (e *encoder) close(b byte)    { e.buf = append(e.buf, b) }

func (e *encoder) key(k string) {
	e.comma()
	e.string(k)
	e.buf = append(e.buf, ':')
}

// comma separates a value from the one before it; the first value of an object or list has none before it.
func (e *encoder) comma() {
	if last := e.buf[len(e.buf)-1]; last != '{' && last != '[' {
		e.buf = append(e.buf, ',')
	}
}

func (e *encoder) fail(key string, err error) {
	if e.err == nil {
		e.err = fmt.Errorf("qoe: %s: %w", key, err)
	}
}

const hex = "0123456789abcdef"

// string appends s as RFC 8259 section 7 wants it. SIP display names and reason phrases come from strangers, so
// control characters and broken UTF-8 are expected here.
func (e *encoder) string(s string) {
	e.buf = append(e.buf, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			e.buf = append(e.buf, '\\', byte(r))
		case r == '\n':
			e.buf = append(e.buf, '\\', 'n')
		case r == '\r':
			e.buf = append(e.buf, '\\', 'r')
		case r == '\t':
			e.buf = append(e.buf, '\\', 't')
		case r < 0x20 || r == 0x7f:
			e.buf = append(e.buf, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			e.buf = utf8.AppendRune(e.buf, r)
		}
	}
	e.buf = append(e.buf, '"')
}
