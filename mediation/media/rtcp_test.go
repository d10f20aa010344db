package media

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"pgregory.net/rapid"
)

// What we write must be what another implementation reads, field by field.
func TestReportsAgainstLibrary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ssrc := rapid.Uint32().Draw(t, "ssrc")
		cname := rapid.StringMatching(`[a-z0-9@.+/=]{1,60}`).Draw(t, "cname")
		block := reportBlock{
			ssrc:     rapid.Uint32().Draw(t, "source"),
			fraction: rapid.Byte().Draw(t, "fraction"),
			lost:     rapid.Int32Range(-1<<23, 1<<23-1).Draw(t, "lost"),
			highest:  rapid.Uint32().Draw(t, "highest"),
			jitter:   rapid.Uint32().Draw(t, "jitter"),
			lsr:      rapid.Uint32().Draw(t, "lsr"),
			dlsr:     rapid.Uint32().Draw(t, "dlsr"),
		}
		sr := senderReport{rapid.Uint64().Draw(t, "ntp"), rapid.Uint32().Draw(t, "timestamp"),
			rapid.Uint32().Draw(t, "packets"), rapid.Uint32().Draw(t, "bytes")}
		sender, reporting := rapid.Bool().Draw(t, "sender"), rapid.Bool().Draw(t, "with block")
		srp, blockp := &sr, &block
		if !sender {
			srp = nil
		}
		if !reporting {
			blockp = nil
		}
		b := appendBYE(appendCNAME(appendReport(nil, ssrc, srp, blockp), ssrc, cname), ssrc)
		if !validRTCP(b, false) {
			t.Fatalf("our own report is not valid: %x", b)
		}
		list, err := rtcp.Unmarshal(b)
		if err != nil || len(list) != 3 {
			t.Fatalf("%v, %v", list, err)
		}
		if err := rtcp.CompoundPacket(list).Validate(); err != nil {
			t.Fatal(err)
		}
		var reports []rtcp.ReceptionReport
		switch p := list[0].(type) {
		case *rtcp.SenderReport:
			reports = p.Reports
			if !sender || p.SSRC != ssrc || p.NTPTime != sr.ntp || p.RTPTime != sr.timestamp ||
				p.PacketCount != sr.packets || p.OctetCount != sr.bytes {
				t.Fatalf("%+v is not %+v", p, sr)
			}
		case *rtcp.ReceiverReport:
			reports = p.Reports
			if sender || p.SSRC != ssrc {
				t.Fatalf("%+v", p)
			}
		}
		want := []rtcp.ReceptionReport{{SSRC: block.ssrc, FractionLost: block.fraction, TotalLost: uint32(block.lost) & 0xffffff,
			LastSequenceNumber: block.highest, Jitter: block.jitter, LastSenderReport: block.lsr, Delay: block.dlsr}}
		if reporting && (len(reports) != 1 || reports[0] != want[0]) || !reporting && len(reports) != 0 {
			t.Fatalf("%+v is not %+v", reports, want)
		}
		if name, ok := rtcp.CompoundPacket(list).CNAME(); ok != nil || name != cname {
			t.Fatalf("name %q, want %q", name, cname)
		}
		if bye := list[2].(*rtcp.Goodbye); len(bye.Sources) != 1 || bye.Sources[0] != ssrc {
			t.Fatalf("%+v", bye)
		}
		readBack(t, b, ssrc, srp, blockp)
	})
}

func readBack(t *rapid.T, b []byte, ssrc uint32, sr *senderReport, block *reportBlock) {
	calls := 0
	reports(b, func(from, ntp uint32, blocks []byte) {
		calls++
		if from != ssrc || sr != nil && ntp != ntpMiddle(sr.ntp) || sr == nil && ntp != 0 {
			t.Fatalf("read %d, %d", from, ntp)
		}
		if block == nil {
			return
		}
		if got, ok := findBlock(blocks, block.ssrc); !ok || got != *block {
			t.Fatalf("read %+v, want %+v", got, *block)
		}
		if _, ok := findBlock(blocks, block.ssrc+1); ok {
			t.Fatal("found a block that is not there")
		}
	})
	if calls != 1 {
		t.Fatalf("%d reports read", calls)
	}
}

func TestInvalidCompounds(t *testing.T) {
	rr := appendReport(nil, 9, nil, &reportBlock{})
	sr := appendReport(nil, 9, &senderReport{}, nil)
	name := appendCNAME(nil, 9, "x")
	with := func(b []byte, at int, value byte) []byte {
		b = bytes.Clone(b)
		b[at] = value
		return b
	}
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	padding := func(b []byte, tail ...byte) []byte {
		p := with(append(bytes.Clone(b), tail...), 0, b[0]|0x20)
		binary.BigEndian.PutUint16(p[2:], uint16(len(p)/4-1))
		return p
	}
	padded := padding(name, 0, 0, 0, 4)
	bye := appendBYE(nil, 9)
	feedback := []byte{0x81, 205, 0, 2, 0, 0, 0, 9, 0, 0, 0, 7} // transport feedback without an entry
	for title, tt := range map[string]struct {
		b  []byte
		ok bool
	}{
		"receiver report":                   {rr, true},
		"sender report":                     {sr, true},
		"with a name":                       {join(sr, name), true},
		"two reports":                       {join(rr, sr, name), true},
		"padding at the end":                {join(rr, padded), true},
		"nothing":                           {nil, false},
		"a header only":                     {rr[:4], false},
		"a name first":                      {join(name, rr), false},
		"BYE first":                         {appendBYE(nil, 9), false},
		"a padded report first":             {with(rr, 0, 0xa1), false},
		"padding before the end":            {join(rr, padded, name), false},
		"wrong version later":               {join(rr, with(name, 0, 0x41)), false},
		"longer than it is":                 {with(rr, 3, 8), false},
		"shorter than it is":                {with(rr, 3, 6), false},
		"bytes left over":                   {append(bytes.Clone(rr), 0, 0), false},
		"more blocks than there are":        {with(rr, 0, 0x82), false},
		"31 blocks":                         {with(rr, 0, 0x9f), false},
		"no room for the sender's own part": {with(rr[:8], 1, 200), false},
		"BYE at the end":                    {join(rr, name, bye), true},
		"BYE of nobody":                     {join(rr, with(bye, 0, 0x80)), true},
		"BYE of more than there are":        {join(rr, with(bye, 0, 0x82)), false},
		"a name of more than there are":     {join(rr, with(name, 0, 0x83)), false},
		"feedback":                          {join(rr, feedback), true},
		"no type of RTCP":                   {join(rr, with(feedback, 1, 191)), false},
		"RTP later":                         {join(rr, with(feedback, 1, 0)), false},
		"padding of nothing":                {join(rr, padding(name, 0, 0, 0, 0)), false},
		"padding of no whole word":          {join(rr, padding(name, 0, 0, 0, 3)), false},
		"padding over the whole packet":     {join(rr, padding(bye, 0, 0, 0, 8)), false},
		"padding beyond the packet":         {join(rr, padding(bye, 0, 0, 0, 252)), false},
		"padding into what was announced":   {join(rr, with(padding(bye, 0, 0, 0, 4), 0, 0xa2)), false},
	} {
		if got := validRTCP(tt.b, false); got != tt.ok {
			t.Errorf("%s: valid %v", title, got)
		}
		if tt.ok && !validRTCP(tt.b, true) {
			t.Errorf("%s: not valid where less would be", title)
		}
	}
	// RFC 5506 section 3.4.2: any packet may stand alone, whole as ever.
	for title, tt := range map[string]struct {
		b  []byte
		ok bool
	}{
		"feedback":             {feedback, true},
		"a name":               {name, true},
		"BYE":                  {bye, true},
		"padded, alone":        {padded, true},
		"padded and another":   {join(padded, name), false},
		"lies about its BYEs":  {with(bye, 0, 0x82), false},
		"longer than it is":    {with(feedback, 3, 8), false},
		"less than an SSRC":    {feedback[:4], false},
		"RTP":                  {talk(1, 7).bytes(), false},
		"a report with lies":   {with(rr, 0, 0x82), false},
		"another version":      {with(feedback, 0, 0x41), false},
		"something behind it":  {append(bytes.Clone(feedback), 0x80), false},
		"zeros":                {make([]byte, 12), false},
		"a report after a BYE": {join(bye, rr), true},
	} {
		if got := validRTCP(tt.b, true); got != tt.ok {
			t.Errorf("reduced size, %s: valid %v", title, got)
		}
		if tt.ok && validRTCP(tt.b, false) {
			t.Errorf("reduced size, %s: valid as a compound as well", title)
		}
	}
}

func TestNamedDropsOfRTCP(t *testing.T) {
	good := appendCNAME(appendReport(nil, 9, nil, nil), 9, "x")
	for _, tt := range []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "short"},
		{"seven bytes", good[:7], "short"},
		{"version", append([]byte{0x41}, good[1:]...), "version"},
		{"RTP", talk(1, 7).bytes(), "rtp_on_rtcp_port"},
		{"cut off", good[:len(good)-4], "malformed"},
		{"too long", append(bytes.Clone(good), make([]byte, 3000)...), "oversized"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := bothSet(t)
			r.inRTCP(Gateway, tt.data)
			if err := sameDrops(r.drops(Gateway), tt.want); err != nil {
				t.Error(err)
			}
		})
	}
	r := bothSet(t)
	r.deliver(r.rtcpPort(Gateway), good, stranger1)
	if err := sameDrops(r.drops(Gateway), "wrong_source"); err != nil {
		t.Error(err)
	}
	if r.outRTCP(Pool) != nil || r.out(Pool) != nil {
		t.Error("RTCP was passed on")
	}
}

func TestNTP(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 500_000_000, time.UTC)
	since1900 := uint64(at.Sub(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC))/time.Second) + (70*365+17)*86400
	if got := ntpTime(at.UnixNano()); got != since1900<<32|1<<31 {
		t.Errorf("NTP time %x, want %x", got, since1900<<32|1<<31)
	}
	if got := ntpMiddle(0x1234_5678_9abc_def0); got != 0x5678_9abc {
		t.Errorf("middle %x", got)
	}
	for nanos, want := range map[int64]uint32{
		-1: 0, 0: 0, 1e9: 65536, 5e8: 32768, 15_259_000: 1000, 3600 * 1e9: 3600 << 16,
	} {
		if got := shortTime(nanos); got != want {
			t.Errorf("%d ns is %d, want %d", nanos, got, want)
		}
	}
	if got := shortTime(100_000 * 1e9); got != math.MaxUint32 {
		t.Errorf("more than a day is %d", got)
	}
	for lost, want := range map[int64]int32{0: 0, -5: -5, 1 << 40: 1<<23 - 1, -(1 << 40): -1 << 23} {
		if got := clampLost(lost); got != want {
			t.Errorf("%d lost fit as %d, want %d", lost, got, want)
		}
	}
}
