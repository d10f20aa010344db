package number

// The printed normalization rules of the original product, as data, with what running each of them gives.

var (
	fourDigitExtension = Rule{"4digitExtension", `^(\d{4})$`, `+1425555$1`}
	fiveDigitExtension = Rule{"5digitExtension", `^5(\d{4})$`, `+1425555$1`}
	sevenDigitsRedmond = Rule{"7digitcallingRedmond", `^(\d{7})$`, `+1425$1`}
	sevenDigitsDallas  = Rule{"7digitcallingDallas", `^(\d{7})$`, `+1972$1`}
	tenDigitsUS        = Rule{"10digitcallingUS", `^(\d{10})$`, `+1$1`}
	longDistancePrint  = Rule{"LDCallingUS", `^1(\d{10})$`, `+$1`}
	longDistance       = Rule{"LDCallingUS", `^1(\d{10})$`, `+1$1`}
	internationalUS    = Rule{"IntlCallingUS", `^011(\d*)$`, `+$1`}
	redmondOperator    = Rule{"RedmondOperator", `^0$`, `+14255550100`}
	redmondSitePrefix  = Rule{"RedmondSitePrefix", `^6222(\d{4})$`, `+1425555$1`}
	newYorkSitePrefix  = Rule{"NYSitePrefix", `^6333(\d{4})$`, `+1202555$1`}
	dallasSitePrefix   = Rule{"DallasSitePrefix", `^6444(\d{4})$`, `+1972555$1`}
	offHook9425        = Rule{"offhook-9425", `^9425(\d{7})$`, `+1425$1`}
	offHookFiveDigits  = Rule{"offhook-5digit", `^(\d{5})$`, `+125355$1`}
)

// redmond is the sample location profile in its printed order.
var redmond = []Rule{
	fiveDigitExtension, sevenDigitsRedmond, tenDigitsUS, internationalUS,
	redmondSitePrefix, newYorkSitePrefix, dallasSitePrefix, redmondOperator,
}
