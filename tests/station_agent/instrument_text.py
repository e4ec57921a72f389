"""Lines in the form of LI-COR, LGR and Campbell instruments, for tests."""

LICOR_NAMES = "DATAH\tSECONDS\tNANOSECONDS\tNDX\tDIAG\tREMARK\tDATE\tTIME\tH2O\tCO2\tCH4\tCAVITY_P\tCHK"
LICOR_UNITS = "DATAU\tsecs\tnsecs\tindex\tdiag\t\tdate\ttime\tppm\tppm\tppb\tkPa\tCHK"
LICOR_HEAD = ["Model:\tLI-7810", "SN:\tTG10-00000", "Timezone:\tUTC", LICOR_NAMES, LICOR_UNITS]
START = 1_700_000_000


def licor(number, *, ns=250_600_000, diag="0", co2="420.5", ch4="1950.25", h2o="12000.5", remark='""', pressure="39.6"):
    """Return the row of second `number`, with its checksum."""
    fields = ("DATA", START + number, ns, number, diag, remark, "2023-11-14", "22:13:20", h2o, co2, ch4, pressure, "")
    body = "\t".join(map(str, fields))
    return f"{body}{sum(body.encode()) % 256:3d}"


LI850_NAMES = (
    "System_Date_(Y-M-D)\tSystem_Time_(h:m:s)\tCO₂_(µmol_mol⁻¹)\tH₂O_(mmol_mol⁻¹)\tH₂O_(°C)\t"
    "Cell_Temperature_(°C)\tCell_Pressure_(kPa)\tCO₂_Absorption\tInput_Voltage_(V)\tFlow_Rate_(L_min⁻¹)\t"
)
LI850_HEAD = ['"2024-07-01 at 11:16"', LI850_NAMES]


def li850(stamp="2024-07-01\t11:16:43", *, co2="4.19765e2"):
    """Return a row."""
    return f"{stamp}\t{co2}\t1.44608e1\t1.26817e1\t5.14769e1\t1.01801e2\t9.7558794e-2\t2.0e1\t7.1574015e-1\t"


LGR_NAMES = (
    "                     Time,      [CH4]_ppm,   [CH4]_ppm_sd,      [H2O]_ppm,     [CO2]d_ppm,      GasP_torr,"
    "         GasT_C,         AmbT_C,         RD0_us,       Fit_Flag,      MIU_VALVE,       MIU_DESC"
)
LGR_HEAD = ["VC:2f90039 BD:Jan 16 2014 SN:LGR-00-0000", LGR_NAMES]


def lgr(stamp="05/04/2023 08:12:47.064", *, ch4="1.9e+00", fit="3", valve="2"):
    """Return a row."""
    return (
        f"  {stamp},   {ch4},   9.904065e-02,   1.2e+04,   4.2e+02,   1.4e+02,   2.5e+01,   2.0e+01,"
        f"   1.010457e+01,              {fit},              {valve},               "
    )


SIGNATURE = ["-----BEGIN PGP SIGNATURE-----", "Version: GnuPG v1.4.11 (GNU/Linux)", "", "iQEcBAEBAgAGBQJ", "=Xy1z"]
SIGNATURE_END = "-----END PGP SIGNATURE-----"

TOA5_HEAD = [
    '"TOA5","mast","CR3000","2835","CR3000.Std.12","CPU:mast.CR3","37479","met"',
    '"TIMESTAMP","RECORD","AirTC_Avg","BP_Avg","CO2_Avg","port","AirTC_Max","RH"',
    '"TS","RN","Deg C","kPa","mol m-3","","Deg C","%"',
    '"","","Avg","Avg","Avg","Smp","Max","Smp"',
]
TOACI1_HEAD = ['"TOACI1","mast","met"', '"TMSTAMP","RECNBR","AirTC_AVG","BP_AVG"']


def toa5(stamp="2024-07-01 11:16:43", *, air="12.5", port='"inlet 1, top"'):
    """Return a row."""
    return f'"{stamp}",6466,{air},98.5,15.58532,{port},14.1,"NAN"'
