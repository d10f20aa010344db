// Package signalling calls through a running causeway with peers that bend SIP each in their own way, in both call directions.
//
// There are two kinds of them. SIPp (Debian's 3.6.1: no TLS, no SRTP) plays scripts, which are written in Go beside their checks
// and handed to it as scenarios. An agent is a user agent by hand: every byte that it sends stands in the test, and what it
// hears is kept with its time. It serves where SIPp is clumsy: races, forks, several messages in a segment, the moments of
// retransmissions, media. Neither shares code with causeway, its parser least of all.
//
// Each test has a causeway of its own, built with the race detector, on a network of loopback of its own. Three things are looked at
// in every test, whatever else it is about: that a side hears nothing that its test does not expect; that no address or name
// of one side stands in anything that the other was sent; and that causeway ends as it should, with no call left.
//
// # Lines of the issue
//
// What causeway has to do in signalling, and the tests that show it. Names with SIPp in them are SIPp on both sides.
//
//	late offer                         TestLateOffer, TestLateOfferWithoutUsableAnswer, TestLateOfferInReliableProvisional, TestSIPpLateOffer
//	180, 183, early media              TestEarlyMedia, TestAnswersInTwoResponses, TestSIPpProvisionalResponses
//	several early dialogs, later 2xx   TestSeveralEarlyDialogs, TestLateAnswerOfAnotherFork, TestForkAnswersAfterCancel, TestSIPpForks
//	any number of provisionals         TestManyProvisionalResponses, TestSIPpProvisionalResponses
//	2xx until ACK, BYE without         TestTimers, TestAckEndsTheRepetition, TestEveryAnswerIsAcknowledged, TestSIPpAck
//	CANCEL in every state              TestCancelBeforeAnyResponse, TestCancelBeforeTheOnlyResponse, TestCancelWhileRinging, TestCancelAfterTheAnswer,
//	                                   TestCancelDuringReliableProvisional, TestCancelOfNothing, TestRepeatedCancel, TestRingTimeout, TestSIPpCancels
//	CANCEL and 200                     TestAnswerCrossesCancel, TestCancelAndAnswerAtOnce, TestForkAnswersAfterCancel, TestSIPpCancels
//	BYE from both sides, before ACK    TestByeFromBothSides, TestByeBeforeAck, TestCalleeHangsUpAtOnce, TestByeDuringReoffer, TestSIPpHangsUp
//	re-INVITE, UPDATE: hold, resume    TestHoldAndResume, TestHoldByZeroAddress, TestMediaDuringHold, TestBothSidesHold, TestBothSidesHoldAtOnce, TestCallThatBeginsOnHold,
//	                                   TestSIPpChanges
//	re-INVITE, UPDATE: the rest        TestCodecPortAndAddressChange, TestCodecChangeIsConverted, TestReinviteWithoutOffer, TestUnusableReoffer,
//	                                   TestReofferRefusedByTheOtherSide, TestRefreshWithoutChange, TestUpdateWithoutOffer, TestSIPpChanges
//	491 and the retry                  TestGlare, TestGlareAndAnotherMind, TestGlareWhereThePeerIsFaster, TestChangeDuringChange, TestOfferThatIsPutOff,
//	                                   TestSIPpGlare
//	target refresh                     TestTargetRefresh, TestTargetRefreshMovesThePort, TestAckGoesToTheContact
//	PRACK and 100rel                   TestReliableCallee, TestReliableCaller, TestPrackForNothing, TestUpdateInTheEarlyDialog, TestReliableForks, TestOfferInPrack,
//	                                   TestSIPpReliableProvisionals
//	session timers                     TestSessionTimers, TestSessionIntervalTooSmall, TestSessionIntervalTooSmallForTheCallee,
//	                                   TestPeersWithoutSessionTimers, TestRefreshThatIsRefused, TestSIPpSessionIntervals
//	500 with Retry-After, and without  TestInviteDuringInvite, TestUpdateDuringInvite, TestStaleAndReplayedRequests
//	420 481 482 483 405 415 488        TestRefusedOutsideADialog, TestRefusedInADialog, TestMergedRequest, TestUnusableOffer, TestRequestAfterTheCall,
//	                                   TestNearlyOfTheDialog, TestSIPpRefusals
//	REFER refused                      TestRefusedInADialog, TestSIPpRefusals
//	INFO with DTMF                     TestDigitsByInfo, TestDigitsWithoutTelephoneEvents, TestInfoBodies, TestDigitsInSuccession, TestSIPpInfo
//	order                              TestAckAndReinviteInOneSegment, TestInviteAndCancelInOneSegment, TestResponsesAndRequestsInOneSegment,
//	                                   TestReinviteOvertakesAck, TestSegmentsOfAMessage, TestManyCallsOnOneConnection
//	the connection of the dialog       TestByeOnTheAcceptedConnection, TestCalleeHasItsOwnConnection, TestConnectionEndsDuringTheCall,
//	                                   TestConnectionEndsWhileRinging, TestTwoPhonesBehindOneAddress, TestOneConnectionToTheCallee
//	route set                          TestRouteSet, TestRouteSetStays, TestStrictRouter, TestRouteOfAnAnswerAfterCancel
//	large messages                     TestLargeRequestGoesOverTCP, TestLargeRequestWhereNobodyListens, TestLargeResponseStaysOnUDP
//	heartbeat                          TestPeerStopsAnsweringOptions, TestPeerRefusesOptions, TestSIPpHeartbeat
//	digest and REGISTER                TestTrunkAuthenticates, TestTrunkAuthenticatesInItsOwnCall, TestTrunkChallenges, TestChallengeWithoutCredentials,
//	                                   TestChallengeAfterCancel, TestRegistration, TestSIPpTrunkAuthenticates, TestSIPpRegistrar
//	headers that cross, topology       TestHeadersOfInvite, TestReasonCrosses, TestTextsOfRefusalsAreClean, TestRefusals, TestSIPpHeaders, and every other test
//	limits                             TestMaxCalls, TestMaxCallRate, TestConnections, TestConnectionsOfProperPeers, TestMessageSizeAndHeaderCount, TestSIPpMaxCalls
//	nothing of one call ends another   TestBystander
//
// TLS, failover among addresses, certificates and DNS are in test/proxies, and load is there too.
//
// # Defects of others
//
// Each defect that mediation-anchors.md lists in its sections 5.3 (of sipgo's dialogs), 4 (of livekit/sip) and 2.8 (what users of
// rtpengine trip over), and the test that causeway does not have it.
//
//	5.3 1   one early dialog only                        TestSeveralEarlyDialogs, TestLateAnswerOfAnotherFork, TestSIPpForks
//	5.3 2   the twelfth response ends the wait           TestManyProvisionalResponses, TestSIPpProvisionalResponses
//	5.3 3   2xx repeated flatly, no BYE without ACK      TestTimers, TestAckEndsTheRepetition
//	5.3 4   no target refresh, no 491                    TestTargetRefresh, TestTargetRefreshMovesThePort, TestGlare
//	5.3 5   an equal CSeq is taken                       TestStaleAndReplayedRequests
//	5.3 6   no PRACK, timers, 420, strict routes         TestReliableCallee, TestReliableCaller, TestSessionTimers, TestRefusedOutsideADialog, TestStrictRouter
//	5.3 7   ACK and re-INVITE out of order               TestAckAndReinviteInOneSegment
//	5.3 8   BYE to the Contact's port, not on the        TestByeOnTheAcceptedConnection, TestTwoPhonesBehindOneAddress
//	        accepted connection
//	5.3 9   ACK with the INVITE's Route; two             TestRouteSet, TestAckGoesToTheContact, TestOneConnectionToTheCallee, TestTimers (nothing is left)
//	        connections; leaks
//
//	4       panics in handlers                           every test (causeway must not print one), TestBystander
//	4       RTP ports drained; even RTP ports            TestWhatEachCallShows
//	4       DTMF by timestamp, not by marker             TestDigitsByInfo
//	4       ACK and BYE for a 200 that races CANCEL      TestAnswerCrossesCancel, TestCancelAndAnswerAtOnce
//	4       BYE during REFER                             TestRefusedInADialog
//	4       media follows a re-INVITE's port             TestCodecPortAndAddressChange
//	4       Record-Route                                 TestRouteSet, TestRouteSetStays
//	4       destination cached for the ACK               TestAckGoesToTheContact
//	4       retried INVITE answered from a cache         TestRetryAfterRefusal
//	4       symmetric RTP; private SDP addresses         cannot apply: media goes to where the description says, and is taken from there alone
//	4       SRTP stream leak; discard before SRTP        no SRTP here: mediation/media
//	4       maximum call duration                        cannot apply: there is no such setting
//	4       ALPN refused by a peer                       no TLS here: test/proxies
//	4       CPU of an in-band DTMF detector              cannot apply: there is none
//
//	2.8     re-INVITE and hold: 102 107 110 132 226      TestHoldAndResume, TestMediaDuringHold, TestRefreshWithoutChange, TestBothSidesHold for the signalling;
//	        614 765 1249 1277                            rollover counters and keys: mediation/media
//	2.8     DTLS role on a re-offer: 2156                cannot apply: no DTLS-SRTP
//	2.8     Teams, ICE: 1494 1406                        cannot apply: no ICE in mediation
//	2.8     Opus and FEC: 528 759 2108                   codec, mediation/media
//	2.8     figures for each leg: 934 689 931 947 364    qos, mediation/media
//	        1698
//	2.8     load and memory: 128 181 542 753 946 961     test/interop, test/proxies
//	        1069 1379
//	2.8     security back-ports: 1985 1992; OpenSIPS     cannot apply: of packages and of a control protocol that is not here
//	        2296
//
// Further ones, of FreeSWITCH, drachtio, siphon-sip, SIP.js and LiveKit, are in anchors_test.go with their numbers.
package signalling
