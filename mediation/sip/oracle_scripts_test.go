package sip

// oracleRight are sessions with nothing wrong. RFC 3665 and RFC 5407 show most of
// them.
var oracleRight = map[string]string{
	"callee (RFC 3665 3.1)": `
		in INVITE 1 sdp
		out 100 INVITE 1
		order provisional
		out 180 INVITE 1
		order accept
		out 200 INVITE 1 sdp
		in ACK 1
		event confirmed
		in BYE 2
		out 200 BYE 2
		event ended`,
	"callee, late offer": `
		in INVITE 1
		order accept
		out 200 INVITE 1 sdp
		in ACK 1 sdp
		event confirmed
		order bye
		out BYE 1
		in 200 BYE 1`,
	"callee, 2xx sent again until the ACK (RFC 3261 13.3.1.4)": `
		in INVITE 1 sdp
		order accept
		out 200 INVITE 1 sdp
		at 0.5
		out 200 INVITE 1 sdp
		at 1.5
		out 200 INVITE 1 sdp
		at 3.5
		out 200 INVITE 1 sdp
		at 7.5
		out 200 INVITE 1 sdp
		in INVITE 1 sdp        # again: absorbed (RFC 6026)
		in ACK 1
		event confirmed
		at 11.5
		in ACK 1
		at 40`,
	"callee, no ACK": scriptNoAck + `
		event unconfirmed
		order bye
		out BYE 1`,
	"callee, the owner hangs up before the ACK (RFC 3261 15)": `
		in INVITE 1 sdp
		order accept
		out 200 INVITE 1 sdp
		order bye
		at 0.3
		in ACK 1
		out BYE 1`,
	"callee, CANCEL (RFC 3665 3.8)": `
		in INVITE 1 sdp
		out 180 INVITE 1
		in CANCEL 1
		out 200 CANCEL 1
		out 487 INVITE 1
		event cancelled
		in CANCEL 1`,
	"callee, CANCEL too late (RFC 5407 3.1.2)": `
		in INVITE 1 sdp
		order accept
		out 200 INVITE 1 sdp
		in CANCEL 1
		out 200 CANCEL 1
		in ACK 1
		event confirmed`,
	"callee, CANCEL of nothing": `
		in INVITE 1 sdp
		in CANCEL 9
		out 481 CANCEL 9`,
	"callee, BYE in the early dialog (RFC 3261 15.1.2)": `
		in INVITE 1 sdp
		out 180 INVITE 1
		in BYE 2
		out 200 BYE 2
		out 487 INVITE 1
		event ended`,
	"callee, reliable (RFC 3262)": `
		in INVITE 1 sdp rel
		order provisional
		out 183 INVITE 1 sdp rseq=7
		at 0.5
		out 183 INVITE 1 sdp rseq=7
		order accept           # held back
		at 1
		in PRACK 2 rack=7/1
		out 200 PRACK 2
		out 200 INVITE 1
		in ACK 1
		event confirmed`,
	"callee, late offer in a reliable response": `
		in INVITE 1 rel
		out 183 INVITE 1 sdp rseq=1
		in PRACK 2 rack=1/1 sdp
		out 200 PRACK 2
		event offer_answered
		order provisional
		out 180 INVITE 1 rseq=2
		in PRACK 3 rack=2/1
		out 200 PRACK 3
		order accept
		out 200 INVITE 1
		in ACK 1
		event confirmed`,
	"callee, PRACK of nothing": `
		in INVITE 1 sdp rel
		out 183 INVITE 1 rseq=1
		in PRACK 2 rack=2/1
		out 481 PRACK 2
		in PRACK 3 rack=1/1
		out 200 PRACK 3
		in PRACK 4 rack=1/1
		out 481 PRACK 4`,
	"callee, the reliable response is never acknowledged": scriptNoPrack + `
		out 503 INVITE 1
		event ended`,
	"callee, the peer changes the session (RFC 3665 3.7)": scriptTalking + `
		in INVITE 2 sdp
		event offered
		in INVITE 3 sdp        # 14.2
		out 500 INVITE 3 later
		in UPDATE 4 sdp        # RFC 3311 5.2
		out 500 UPDATE 4 later
		order answer
		out 200 INVITE 2 sdp
		in ACK 2
		in INVITE 5
		event offered
		order answer
		out 200 INVITE 5 sdp
		in UPDATE 6 sdp
		out 491 UPDATE 6
		in ACK 5 sdp
		event offer_answered
		in UPDATE 7 sdp
		event offered
		order refuse 488
		out 488 UPDATE 7
		in UPDATE 8
		out 200 UPDATE 8`,
	"callee, numbers of the past (RFC 3261 12.2.2)": scriptTalking + `
		in INVITE 20 sdp
		event offered
		in BYE 19
		out 500 BYE 19
		order answer
		out 200 INVITE 20 sdp
		in ACK 20
		in INFO 20
		out 500 INFO 20
		in INFO 21 dtmf
		out 200 INFO 21
		event info
		in INFO 22 foreign
		out 415 INFO 22
		in REFER 23
		out 603 REFER 23
		in MESSAGE 24
		out 405 MESSAGE 24`,
	"callee, hold by us, and glare (RFC 3261 14.1)": scriptTalking + `
		order reoffer
		out INVITE 1 sdp
		in INVITE 2 sdp
		out 491 INVITE 2
		in 491 INVITE 1
		at 1
		event offer_again
		order reoffer
		out INVITE 2 sdp
		in 100 INVITE 2
		in 200 INVITE 2 sdp
		out ACK 2 branch=x
		event offer_answered
		at 1.5
		in 200 INVITE 2 sdp
		out ACK 2 branch=x
		order bye
		out BYE 3`,
	"callee, BYE from both sides (RFC 5407 3.2.3)": scriptTalking + `
		order bye
		out BYE 1
		in BYE 2
		out 200 BYE 2
		in 200 BYE 1`,
	"callee, BYE while the peer waits for an answer": scriptTalking + `
		in INVITE 2 sdp
		event offered
		in BYE 3
		out 200 BYE 3
		out 487 INVITE 2
		event ended`,
	"callee, our request meets 481 (RFC 5057)": scriptTalking + `
		order reoffer
		out INVITE 1 sdp
		in 481 INVITE 1
		event ended`,
	"callee, our offer is refused": scriptTalking + `
		order reoffer
		out UPDATE 1 sdp
		in 488 UPDATE 1
		event offer_refused`,
	"callee, another dialog's tag": scriptTalking + `
		in BYE 2 tag=q
		out 481 BYE 2 tag=q`,

	"caller (RFC 3665 3.1)": `
		out INVITE 1 sdp
		in 100 INVITE 1 tag=
		in 180 INVITE 1
		event progress
		in 200 INVITE 1 sdp
		event answered
		order ack
		out ACK 1 branch=a
		at 0.5
		in 200 INVITE 1 sdp
		out ACK 1 branch=a
		in BYE 1
		out 200 BYE 1
		event ended`,
	"caller, refused": `
		out INVITE 1 sdp
		in 486 INVITE 1
		out ACK 1 branch=INVITE1
		event failed`,
	"caller, no answer (RFC 3261 17.1.1.2)": `
		out INVITE 1 sdp
		at 32
		event failed`,
	"caller, forks (RFC 3261 13.2.2.4)": `
		out INVITE 1 sdp
		in 180 INVITE 1 tag=a
		event progress
		in 183 INVITE 1 tag=b sdp
		event progress
		in 200 INVITE 1 tag=b sdp
		event answered
		order ack
		out ACK 1 tag=b branch=x
		in 200 INVITE 1 tag=a sdp
		out ACK 1 tag=a branch=y
		out BYE 2 tag=a
		in 200 INVITE 1 tag=a sdp
		out ACK 1 tag=a branch=y`,
	"caller, CANCEL (RFC 3261 9.1)": `
		out INVITE 1 sdp
		order cancel
		in 100 INVITE 1 tag=
		out CANCEL 1
		in 200 CANCEL 1
		in 487 INVITE 1
		out ACK 1 branch=INVITE1
		event failed`,
	"caller, CANCEL loses (RFC 5407 3.1.2)": `
		out INVITE 1 sdp
		in 180 INVITE 1
		event progress
		order cancel
		out CANCEL 1
		in 200 INVITE 1 sdp
		event answered
		order ack
		out ACK 1 branch=x
		order bye
		out BYE 2`,
	"caller, CANCEL without an end (RFC 3261 9.1)": `
		out INVITE 1 sdp
		in 180 INVITE 1
		event progress
		order cancel
		out CANCEL 1
		at 32
		event failed`,
	"caller, reliable (RFC 3262)": `
		out INVITE 1 sdp
		in 183 INVITE 1 rseq=5 sdp
		out PRACK 2 rack=5/1
		event progress
		in 183 INVITE 1 rseq=5 sdp
		in 180 INVITE 1 rseq=7
		in 200 PRACK 2
		in 180 INVITE 1 rseq=6
		out PRACK 3 rack=6/1
		event progress
		in UPDATE 10 sdp
		event offered
		order answer
		out 200 UPDATE 10 sdp
		in 200 INVITE 1
		event answered
		order ack
		out ACK 1 branch=x
		order bye
		out BYE 4`,
	"caller, the callee asks early": `
		out INVITE 1 sdp
		in 180 INVITE 1
		event progress
		in INVITE 10 sdp
		out 491 INVITE 10
		in UPDATE 11 sdp
		out 491 UPDATE 11
		in BYE 12
		out 481 BYE 12`,
}

// scriptNoAck is a session as callee that nobody acknowledges.
const scriptNoAck = `
	in INVITE 1 sdp
	order accept
	out 200 INVITE 1 sdp
	at 0.5
	out 200 INVITE 1 sdp
	at 1.5
	out 200 INVITE 1 sdp
	at 3.5
	out 200 INVITE 1 sdp
	at 7.5
	out 200 INVITE 1 sdp
	at 11.5
	out 200 INVITE 1 sdp
	at 15.5
	out 200 INVITE 1 sdp
	at 19.5
	out 200 INVITE 1 sdp
	at 23.5
	out 200 INVITE 1 sdp
	at 27.5
	out 200 INVITE 1 sdp
	at 31.5
	out 200 INVITE 1 sdp
	at 32`

// scriptNoPrack is one whose reliable response nobody acknowledges.
const scriptNoPrack = `
	in INVITE 1 sdp rel
	out 183 INVITE 1 sdp rseq=1
	at 0.5
	out 183 INVITE 1 sdp rseq=1
	at 1.5
	out 183 INVITE 1 sdp rseq=1
	at 3.5
	out 183 INVITE 1 sdp rseq=1
	at 7.5
	out 183 INVITE 1 sdp rseq=1
	at 15.5
	out 183 INVITE 1 sdp rseq=1
	at 31.5
	out 183 INVITE 1 sdp rseq=1
	at 32`

// scriptTalking is a session as callee that is confirmed.
const scriptTalking = `
	in INVITE 1 sdp update
	order accept
	out 200 INVITE 1 sdp
	in ACK 1
	event confirmed`

// oracleWrong are sessions with one thing wrong, which the first line names.
var oracleWrong = map[string]string{
	"no answer in 200": `# no SDP in 200
		in INVITE 1 sdp
		out 200 INVITE 1`,
	"offer lost in 180": `# 13.2.1
		in INVITE 1
		out 180 INVITE 1 sdp`,
	"not reliable": `# requires 100rel
		in INVITE 1 sdp needrel
		out 180 INVITE 1`,
	"reliable without being asked": `# does not know 100rel
		in INVITE 1 sdp
		out 180 INVITE 1 rseq=1`,
	"two reliable at once": `# before the first is acknowledged
		in INVITE 1 sdp rel
		out 180 INVITE 1 rseq=1
		out 183 INVITE 1 rseq=2`,
	"RSeq jumps": `# grow by one
		in INVITE 1 sdp rel
		out 180 INVITE 1 rseq=1
		in PRACK 2 rack=1/1
		out 200 PRACK 2
		out 183 INVITE 1 rseq=3`,
	"2xx before PRACK": `# before the PRACK
		in INVITE 1 sdp rel
		out 183 INVITE 1 sdp rseq=1
		out 200 INVITE 1`,
	"the answer twice": `# SDP where none belongs
		in INVITE 1 sdp rel
		out 183 INVITE 1 sdp rseq=1
		in PRACK 2 rack=1/1
		out 200 PRACK 2
		out 200 INVITE 1 sdp`,
	"accepted and nothing said": `# 2xx did not happen
		in INVITE 1 sdp
		order accept`,
	"2xx once only": `# was to be sent again 500ms
		in INVITE 1 sdp
		out 200 INVITE 1 sdp
		at 0.6`,
	"2xx too soon": `# due after 500ms
		in INVITE 1 sdp
		out 200 INVITE 1 sdp
		at 0.4
		out 200 INVITE 1 sdp`,
	"2xx doubled beyond T2": `# due after 11.5s` + scriptNoAck[:len(scriptNoAck)-len(scriptNoAckTail)] + `
		at 15.5
		out 200 INVITE 1 sdp`,
	"2xx after the ACK": `# after the ACK` + scriptTalking + `
		at 0.5
		out 200 INVITE 1 sdp`,
	"no ACK and nobody told": `# event unconfirmed did not happen` + scriptNoAck,
	"BYE before the ACK": `# RFC 3261 15:
		in INVITE 1 sdp
		out 200 INVITE 1 sdp
		order bye
		out BYE 1`,
	"BYE that waits for ever": `# BYE p did not happen
		in INVITE 1 sdp
		out 200 INVITE 1 sdp
		order bye
		in ACK 1`,
	"confirmed twice": `# neither asked for nor allowed` + scriptTalking + `
		in ACK 1
		event confirmed`,
	"confirmed and not told": `# event confirmed did not happen
		in INVITE 1 sdp
		out 200 INVITE 1 sdp
		in ACK 1`,
	"CANCEL and 200": `# 9.2
		in INVITE 1 sdp
		in CANCEL 1
		out 200 CANCEL 1
		out 200 INVITE 1 sdp`,
	"CANCEL not answered": `# final CANCEL INVITE1 did not happen
		in INVITE 1 sdp
		in CANCEL 1
		out 487 INVITE 1
		event cancelled`,
	"told after the end": `# after the owner was done
		in INVITE 1 sdp
		in CANCEL 1
		out 487 INVITE 1
		event cancelled
		event ended`,
	"two final responses": `# 17.2
		in INVITE 1 sdp
		out 486 INVITE 1
		out 200 INVITE 1 sdp`,
	"lower number served": `# 12.2.2` + scriptTalking + `
		in INVITE 5 sdp
		event offered
		in INFO 4
		out 200 INFO 4`,
	"500 with a wait nobody asked for": `# Retry-After true` + scriptTalking + `
		in INFO 5
		out 200 INFO 5
		in INFO 4
		out 500 INFO 4 later`,
	"500 without the wait": `# Retry-After false` + scriptTalking + `
		in INVITE 2 sdp
		event offered
		in INVITE 3 sdp
		out 500 INVITE 3`,
	"glare served": `# an INVITE of ours is in progress` + scriptTalking + `
		order reoffer
		out INVITE 1 sdp
		in INVITE 2 sdp
		out 200 INVITE 2 sdp`,
	"re-INVITE into a re-INVITE": `# another INVITE is in progress, theirs` + scriptTalking + `
		in INVITE 2 sdp
		event offered
		order reoffer
		out INVITE 1 sdp`,
	"re-INVITE twice": `# another INVITE is in progress, ours` + scriptTalking + `
		order reoffer
		out INVITE 1 sdp
		order reoffer
		out INVITE 2 sdp`,
	"UPDATE nobody understands": `# the peer does not know UPDATE
		in INVITE 1 sdp
		out 200 INVITE 1 sdp
		in ACK 1
		event confirmed
		order reoffer
		out UPDATE 1 sdp`,
	"offer over an offer": `# an offer is open` + scriptTalking + `
		order reoffer
		out INVITE 1 sdp
		order reoffer
		out UPDATE 2 sdp`,
	"too slow after 491": `# event offer_again did not happen` + scriptTalking + `
		order reoffer
		out INVITE 1 sdp
		in 491 INVITE 1
		at 2
		at 2.5
		event offer_again`,
	"caller, too fast after 491": `# too early by 1.1s` + scriptCalling + `
		order reoffer
		out INVITE 2 sdp
		in 491 INVITE 2
		at 1
		event offer_again`,
	"2xx of a re-INVITE without ACK": `# ACK p did not happen` + scriptCalling + `
		order reoffer
		out INVITE 2 sdp
		in 200 INVITE 2 sdp
		event offer_answered`,
	"numbers that jump": `# grow by one` + scriptCalling + `
		order bye
		out BYE 3`,
	"offer again to a dialog that is gone": `# event ended did not happen` + scriptCalling + `
		order reoffer
		out INVITE 2 sdp
		in 481 INVITE 2`,
	"CANCEL at once": `# before a provisional response
		out INVITE 1 sdp
		order cancel
		out CANCEL 1`,
	"CANCEL never": `# CANCEL did not happen
		out INVITE 1 sdp
		in 180 INVITE 1
		event progress
		order cancel`,
	"no PRACK": `# PRACK p did not happen
		out INVITE 1 sdp
		in 180 INVITE 1 rseq=1
		event progress`,
	"PRACK out of order": `# PRACK of nothing
		out INVITE 1 sdp
		in 180 INVITE 1 rseq=1
		out PRACK 2 rack=1/1
		event progress
		in 180 INVITE 1 rseq=3
		out PRACK 3 rack=3/1`,
	"the same 18x twice": `# neither asked for nor allowed
		out INVITE 1 sdp
		in 180 INVITE 1 rseq=1
		out PRACK 2 rack=1/1
		event progress
		in 180 INVITE 1 rseq=1
		event progress`,
	"second fork talks on": `# BYE b did not happen` + scriptCalling + `
		in 200 INVITE 1 tag=b sdp
		out ACK 1 tag=b branch=y`,
	"late offer without answer": `# no answer in
		out INVITE 1
		in 200 INVITE 1 sdp
		event answered
		order ack
		out ACK 1 branch=x`,
	"ACK with the INVITE's branch": `# with the INVITE's branch
		out INVITE 1 sdp
		in 200 INVITE 1 sdp
		event answered
		order ack
		out ACK 1 branch=INVITE1`,
	"speaks after BYE": `# after BYE` + scriptCalling + `
		order bye
		out BYE 2
		out INFO 3`,
	"nobody answers INFO": `# reply INFO INFO9 did not happen` + scriptCalling + `
		in INFO 9`,
	"response to nothing": `# a response to nothing` + scriptCalling + `
		out 200 INFO 9`,
	"no Contact": `# no Contact
		in INVITE 1 sdp
		out 200 INVITE 1 sdp nocontact`,
}

// scriptNoAckTail is what of scriptNoAck comes after 7.5 s.
const scriptNoAckTail = `
	at 11.5
	out 200 INVITE 1 sdp
	at 15.5
	out 200 INVITE 1 sdp
	at 19.5
	out 200 INVITE 1 sdp
	at 23.5
	out 200 INVITE 1 sdp
	at 27.5
	out 200 INVITE 1 sdp
	at 31.5
	out 200 INVITE 1 sdp
	at 32`

// scriptCalling is a session as caller that is confirmed.
const scriptCalling = `
	out INVITE 1 sdp
	in 200 INVITE 1 sdp
	event answered
	order ack
	out ACK 1 branch=x`
