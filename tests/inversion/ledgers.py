"""Workbooks of inventories, made in the layouts their publishers use."""

import numpy as np
import openpyxl

from inversion.inventory import ceads
from inversion.inventory.categories import CEADS_SECTORS

SECTORS = list(CEADS_SECTORS)


def ceads_workbook(folder, edit=None, *, names=("Beijing2019", "InnerMongolia2019"), scope_2=0.0):
    """Write a workbook as CEADs lays them out, with values that add up, and let `edit` spoil it."""
    book = openpyxl.Workbook()
    book.active.title = "NOTE"
    for n, name in enumerate(names, start=1):
        sheet = book.create_sheet(name)
        sheet.append(["Emission_Inventory", *ceads.COLUMNS])
        sheet.append(["unit", *["Mt CO2"] * len(ceads.COLUMNS)])
        sheet.append([])
        body = []
        for i in range(len(SECTORS)):
            values = {column: n * (i + j / 32) for j, column in enumerate(ceads.FUELS)}
            values |= dict.fromkeys(ceads.SCOPE_2, scope_2) | {ceads.REST: 0.25, ceads.PROCESS: i / 2}
            values[ceads.SUM] = sum(value for column, value in values.items() if column not in ceads.SCOPE_2)
            body.append([values[column] for column in ceads.COLUMNS])
        sheet.append(["TotalEmissions", *np.sum(body, axis=0).tolist()])
        for sector, row in zip(SECTORS, body, strict=True):
            sheet.append([sector, *row])
    if edit:
        edit(book)
    path = folder / "ceads.xlsx"
    book.save(path)
    return path


CORNER = "GREENHOUSE GAS SOURCE AND SINK CATEGORIES"


def sheet(book, name, head, units, rows, *, corner=(), first=0):
    """Write a table with its title lines; `first` empty columns, as CRT has."""
    page = book.create_sheet(name)
    for line in (
        ["SUMMARY 1.A", *[None] * 4, *corner[:1]],
        [None] * 5 + list(corner[1:2]),
        [None] * 5 + list(corner[2:]),
    ):
        page.append([None] * first + line)
    page.append([])
    page.append([None] * first + [CORNER, *head])
    page.append([None] * first + [None, *units])
    for row in rows:
        page.append([None] * first + list(row))
    page.append([])
    page.append([None] * first + ["(1) A footnote. Note that 1. Energy is explained here."])
    page.append([None] * first + ["Note: minimum level of aggregation."])


def crf(path, edit=None):
    book = openpyxl.Workbook()
    book.remove(book.active)
    corner = ("Inventory 2019", "Submission 2021 v3", "GERMANY")
    head = ("Net CO2 emissions/removals", "CH4", "N2O", "HFCs(1)", "Unspecified mix of HFCs and PFCs(1)", "SF6", "NOx")
    units = ("(kt)", None, None, "(kt CO2 equivalent)", None, "(kt)", None)
    rows = [
        ("Total national emissions and removals", 700.0, 50.0, 12.0, None, None, 0.01, 9),
        ("1. Energy", 650.0, 8.0, 2.0, None, None, None, 8),
        ("A. Fuel combustion Reference approach(2)", 655.0),
        ("Sectoral approach(2)", 645.0, 3.0, 1.9),
        ("1. Energy industries", 300.0, 1.0, 0.5),
        ("2. Manufacturing industries and construction", 120.0, 0.5, 0.2),
        ("4. Other sectors", "IE,NO", 1.0, 0.6),
        ("B. Fugitive emissions from fuels", 5.0, 5.0, "NA,NO"),
        ("1. Solid fuels", "NO", 2.0, "NA"),
        ("2. Industrial processes and product use", 60.0, 1.0, 3.0, 900, "NO", 0.01),
        ("A. Mineral industry", 20.0),
        ("3. Agriculture", 3.0, 30.0, 6.0),
        ("A. Enteric fermentation", None, 20.0),
        ("D. Agricultural soils(3)", None, "NA", 5.0),
        ("4. Land use, land-use change and forestry(5)", -15.0, 1.0, 0.5),
        ("A. Forest land(4)", -20.0, "NE", 0.1),
        ("5. Waste", "NO,NE,IE", 10.0, 0.5),
        ("D. Waste water treatment and discharge", None, 2.0, 0.4),
        ("6. Other (as specified in summary 1.A)", "NO", "C", "NO"),
    ]
    sheet(book, "Summary1.As1", head, units, rows, corner=corner)
    energy = [
        ("Total Energy", 650.0, 8.0, 2.0),
        ("A. Fuel combustion activities (sectoral approach)", 645.0, 3.0, 1.9),
        ("1. Energy industries", 301.0, 1.0, 0.5),
        ("a. Public electricity and heat production", 250.0, 0.8, 0.4),
        ("2. Manufacturing industries and construction", 120.0, 0.5, 0.2),
        ("a. Iron and steel", 40.0, 0.1, "IE"),
        ("g. Other (please specify)", 30.0, 0.1, 0.1),
        ("Glass wool", 1.0, 0.1, 0.1),
        ("3. Transport", 160.0, 0.5, 0.6),
        ("a. Domestic aviation", 2.0, 0.001, 0.01),
    ]
    sheet(book, "Table1s1", ("CO2", "CH4", "N2O", "NOX"), ("(kt)", None, None, None), energy, corner=corner)
    sheet(
        book,
        "Table1s2",
        ("CO2", "CH4", "N2O"),
        ("(kt)", None, None),
        [
            ("B. Fugitive emissions from fuels", 5.0, 5.0, "NA,NO"),
            ("1. Solid fuels", "NO", 2.0, "NA"),
            ("b. Solid fuel transformation", 0.5, "NE"),
        ],
        corner=corner,
    )
    sheet(
        book,
        "Table3s1",
        ("CO2", "CH4", "N2O"),
        ("(kt)", None, None),
        [
            ("3. Total agriculture", 3.0, 30.0, 6.0),
            ("I. Livestock", None, 24.0),
            ("A. Enteric fermentation", None, 20.0),
            ("1. Cattle(1)", None, 19.0),
            ("D. Agricultural soils(2,3)", None, "NA", 5.0),
            ("a. Direct N2O emissions from managed soils", None, None, 4.0),
            ("1. Inorganic N fertilizers(3)", None, None, 3.0),
            ("b. Indirect N2O emissions from managed soils", None, None, 1.0),
            ("E. Prescribed burning of savannahs", None, "NO", "NO"),
        ],
        corner=corner,
    )
    if edit:
        edit(book)
    book.save(path)
    return path


def crt(path, edit=None):
    book = openpyxl.Workbook()
    book.remove(book.active)
    corner = ("Year 2021", "Submission 2024 v0.2", "CHINA")
    head = ("Net CO2 emissions/removals", "CH4", "N2O", "HFCs (1)", "Total GHG emissions/removals (2)")
    units = ("(kt)", None, None, "CO2 equivalents (kt) (3)", None)
    rows = [
        ("Total national emissions and removals", 10000.0, 60.0, 2.0, 5.0, 12000.0),
        ("1. Energy", 9900.0, 27.0, 0.3),
        ("1.A. Fuel combustion", 9890.0, 2.0, 0.3),
        ("1.A.1. Energy industries", 5000.0, "FX", 0.1),
        ("1.B. Fugitive emissions from fuels", 10.0, 25.0),
        ("1.B.1. Solid fuels", "NO", 22.0),
        ("3. Agriculture", 0.0, 24.0, 1.0),
        ("3.C. Rice cultivation", None, 8.0),
        ("4. Land use, land-use change and forestry (5)", -1100.0, 2.0, "NE"),
        ("5. Waste", 10.0, 6.0, 0.1),
    ]
    sheet(book, "Summary1", head, units, rows, corner=corner, first=1)
    sheet(
        book,
        "Table1",
        ("CO2", "CH4", "N2O", "Total GHG emissions (1)"),
        ("(kt)", None, None, "CO2 equivalents (kt) (2)"),
        [
            ("1. Total Energy", 9900.0, 27.0, 0.3),
            ("1.A.1.a. Public electricity and heat production", 4600.0, 0.1, 0.1),
            ("1.A.3.d. Domestic navigation", 50.0, 0.01, 0.01),
            ("1.B.1.a. Coal mining and handling", "NO", 21.5),
            ("1.B.2.c. Venting and flaring", 1.0, 1.0),
            ("1.D.1.b.Navigation", 33.0, 0.01, "NE"),
        ],
        corner=corner,
        first=1,
    )
    if edit:
        edit(book)
    book.save(path)
    return path


HEAD = ["IPCC_annex", "C_group_IM24_sh", "Country_code_A3", "Name"]
CODES = ["ipcc_code_2006_for_standard_report", "ipcc_code_2006_for_standard_report_name"]
YEARS = ["Y_1970", "Y_1971", "Y_2022"]


def edgar(path, edit=None, *, gas="CH4", unit="Gg"):
    book = openpyxl.Workbook()
    book.active.title = "info"
    totals, sectors = book.create_sheet("TOTALS BY COUNTRY"), book.create_sheet("IPCC 2006")
    for page in (totals, sectors):
        for line in (["Content:", f"EDGAR_2024_GHG {gas} by country"], ["Unit:", unit], *[[]] * 7):
            page.append(line)
    totals.append([*HEAD, "Substance", *YEARS])
    totals.append(["Non-Annex_I", "China +", "CHN", "China", gas, 30.5, 31.0, 75.0])
    totals.append(["Annex_I", "OECD_Europe", "DEU", "Germany", gas, 5.0, None, 2.0])
    totals.append(["Non-Annex_I", "China +", "HKG", "Hong Kong", gas, 0.1, 0.1, 0.2])
    totals.append(["Int. Shipping", "Int. Shipping", "SEA", "Int. Shipping", gas, 1.0, 1.0, 1.0])
    totals.append([None, None, "GLOBAL TOTAL", None, gas, 36.6, 32.1, 78.2])
    totals.append(["Annex_I", "OECD_Europe", "EU27", "EU27", gas, 5.0, None, 2.0])
    sectors.append([*HEAD, *CODES, "Substance", "fossil_bio", *YEARS])
    china = ["Non-Annex_I", "China +", "CHN", "China"]
    sectors.append([*china, "1.A.1.bc", "Petroleum refining, solid fuels", gas, "fossil", 0.5, 0.6, 1.0])
    sectors.append([*china, "1.A.3.b_noRES", "Road transportation", gas, "fossil", 0.1, 0.1, 0.4])
    sectors.append([*china, "1.A.4", "Residential and other sectors", gas, "fossil", 1.0, 1.0, 2.0])
    sectors.append([*china, "1.A.4", "Residential and other sectors", gas, "bio", 4.0, 4.0, 1.6])
    sectors.append([*china, "3.C.7", "Rice cultivation", gas, "bio", 24.9, 25.3, 70.0])
    sectors.append([*china, "1.B.1", "Solid fuels", "GWP_100_AR5_GHG", "fossil", 1, 1, 1])
    if edit:
        edit(book)
    book.save(path)
    return path
