package sip

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
	"a session that grows": `# Session-Expires grew
		in INVITE 1 sdp timer expires=100
		out 200 INVITE 1 sdp timer needtimer expires=200 refresher=uac`,
	"a session below Min-SE": `# below Min-SE
		in INVITE 1 sdp timer expires=600 minse=300
		out 200 INVITE 1 sdp timer needtimer expires=200 refresher=uac`,
	"a session without its timer": `# no Session-Expires
		in INVITE 1 sdp timer expires=600
		out 200 INVITE 1 sdp`,
	"the refresher is somebody else": `# the refresher was chosen
		in INVITE 1 sdp timer expires=600 refresher=uas
		out 200 INVITE 1 sdp timer needtimer expires=600 refresher=uac`,
	"a peer that knows no timers refreshes": `# a peer without timers
		in INVITE 1 sdp expires=600
		out 200 INVITE 1 sdp timer needtimer expires=600 refresher=uac`,
	"refresher uac, not required": `# without Require
		in INVITE 1 sdp timer expires=600
		out 200 INVITE 1 sdp timer expires=600 refresher=uac`,
	"no refresh": `# no refresh
		in INVITE 1 sdp timer expires=100 refresher=uas
		out 200 INVITE 1 sdp timer expires=100 refresher=uas
		in ACK 1
		event confirmed
		at 50
		at 52`,
	"the session outlives its refresher": `# BYE p did not happen
		in INVITE 1 sdp timer expires=120
		out 200 INVITE 1 sdp timer needtimer expires=120 refresher=uac
		in ACK 1
		event confirmed
		at 88`,
	"hangs up before the time": `# BYE p is neither asked for nor allowed
		in INVITE 1 sdp timer expires=120
		out 200 INVITE 1 sdp timer needtimer expires=120 refresher=uac
		in ACK 1
		event confirmed
		at 80
		out BYE 1`,
	"a refresh that changes its refresher": `# keeps its refresher
		in INVITE 1 sdp timer expires=100 refresher=uas update
		out 200 INVITE 1 sdp timer expires=100 refresher=uas
		in ACK 1
		event confirmed
		at 50
		out UPDATE 1 timer expires=100 refresher=uas minse=90`,
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
